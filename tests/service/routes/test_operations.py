"""GET /health, /v1/info, /metrics, /openapi.json."""

from prometheus_client.parser import text_string_to_metric_families

from rm_client.models import ScoreReply


async def test_a_dead_device_is_not_ready_but_alive(service):
    service.scorer.die = True
    await service.client.post("/score", json={"prompt": "p", "response": "r"})

    ready = await service.client.get("/health/ready")

    assert ready.status_code == 503
    assert "device thread" in ready.json()["detail"]
    assert (await service.client.get("/health/live")).status_code == 200


async def test_a_hanging_forward_is_not_ready(start):
    import asyncio

    async with start(forward_timeout_seconds=0.01) as service:
        assert (await service.client.get("/health/ready")).status_code == 200
        service.scorer.gate.clear()
        held = asyncio.create_task(
            service.client.post("/score", json={"prompt": "p", "response": "r"})
        )
        await asyncio.to_thread(service.scorer.begun.wait, 10)
        await asyncio.sleep(0.02)

        assert (await service.client.get("/health/ready")).status_code == 503
        service.scorer.gate.set()
        assert (await held).status_code == 200


async def test_info_tells_models_rule_engine_and_limits(start):
    async with start(tau=0.3, max_items=7) as service:
        info = (await service.client.get("/v1/info")).json()

    assert info["models"]["safety"]["name"] == "fake-safety"
    assert len(info["models"]["helpfulness"]["digest"]) == 64
    assert info["engine"]["safety"] == {"path": "fake"}
    assert info["selection"]["tau"] == 0.3
    assert info["limits"]["max_items"] == 7


async def test_metrics_are_exposition_that_parses_with_series_from_the_start(service):
    await service.client.post("/score", json={"prompt": "p", "responses": ["a", "b"]})

    reply = await service.client.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain")
    families = {f.name: f for f in text_string_to_metric_families(reply.text)}
    for name in (
        "rm_http_requests",
        "rm_http_request_duration_seconds",
        "rm_queue_items",
        "rm_queue_wait_seconds",
        "rm_admission_rejected",
        "rm_deadline_exceeded",
        "rm_batch_size",
        "rm_batch_tokens",
        "rm_batch_forward_seconds",
        "rm_tokenize_seconds",
        "rm_sequences",
        "rm_tokens",
        "rm_batch_splits",
        "rm_item_failures",
        "rm_engine_busy_seconds",
        "rm_model_info",
        "rm_reward_raw",
        "rm_reward_nonfinite",
        "rm_selection",
        "rm_compare",
        "rm_compare_margin",
        "rm_ready",
        "rm_draining",
        "rm_event_loop_lag_seconds",
    ):
        assert name in families, name
    assert await service.metric("rm_sequences_total", route="/score") == 2
    assert await service.metric("rm_ready") == 1
    assert sum(len(family.samples) for family in families.values()) < 900


async def test_the_document_resolves_every_reference_and_shows_an_example(service):
    document = (await service.client.get("/openapi.json")).json()

    def references(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "$ref":
                    yield inner
                else:
                    yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas, reference
    assert "HTTPValidationError" not in schemas
    for path in ("/score", "/compare"):
        operation = document["paths"][path]["post"]
        assert {"200", "400", "413", "415", "422", "429", "503", "504"} <= set(
            operation["responses"]
        )
        content = operation["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            reply = await service.client.post(path, json=example["value"])
            assert reply.status_code == 200, (path, example)


async def test_what_score_replies_is_what_the_document_says(service):
    body = {"items": [{"prompt": "p", "responses": ["a", " "]}, {"prompt": 3}]}

    reply = await service.client.post("/score", json=body)

    ScoreReply.model_validate_json(reply.content, strict=True, extra="forbid")


async def test_unknown_paths_and_methods_are_problems_too(service):
    for method, path, status in (("GET", "/nope", 404), ("GET", "/score", 405), ("PUT", "/x", 404)):
        reply = await service.client.request(method, path)
        assert reply.status_code == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == status
