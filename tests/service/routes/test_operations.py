"""GET /health, /v1/info, /metrics, /openapi.json."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from rm_client.models_info import CacheInfo, CachesInfo
from rm_core.types import CacheStats, EngineCacheStats

HEALTH = ("/health/live", "/health/ready", "/health", "/v2/health/live", "/v2/health/ready")


async def test_a_dead_device_is_neither_ready_nor_alive(service):
    service.scorer.die = True
    body = {"prompt": "p", "response": "r"}
    replies = [await service.client.post("/score", json=body) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [503, 503]
    for path in HEALTH:
        reply = await service.client.get(path)
        assert reply.status_code == 503
        assert "device thread has ended" in reply.json()["detail"]


async def test_a_dead_scheduler_is_neither_ready_nor_alive_and_whoever_waits_is_told(service):
    def bug() -> None:
        raise ZeroDivisionError

    service.state.scheduler._queue.take = bug
    body = {"prompt": "p", "response": "r"}
    replies = [await service.client.post("/score", json=body) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [503, 503]
    for path in HEALTH:
        reply = await service.client.get(path)
        assert reply.status_code == 503
        assert "task that feeds the device has ended" in reply.json()["detail"]


async def test_a_hanging_forward_is_neither_ready_nor_alive_while_it_hangs(start):
    async with start(forward_timeout_seconds=0.01) as service:
        for path in HEALTH:
            assert (await service.client.get(path)).status_code == 200
        async with service.holding():
            await asyncio.sleep(0.02)
            for path in HEALTH:
                reply = await service.client.get(path)
                assert reply.status_code == 503
                assert "thread rewardd-device has not ended within" in reply.json()["detail"]


async def test_requests_without_a_reply_are_counted_for_whoever_ends_the_process(service):
    async with service.holding():
        assert service.state.num_unanswered == 1
    assert (await service.client.get("/health/live")).status_code == 200
    assert service.state.num_unanswered == 0


async def test_info_tells_models_rule_engine_and_limits(start):
    async with start(tau=0.3, max_items=7) as service:
        info = (await service.client.get("/v1/info")).json()

    assert info["models"]["safety"]["name"] == "fake-safety"
    assert len(info["models"]["helpfulness"]["digest"]) == 64
    assert info["engine"]["safety"] == {"path": "fake"}
    assert info["selection"]["tau"] == 0.3
    assert info["limits"]["max_items"] == 7


async def test_info_tells_what_the_caches_hold_and_whom_they_keep_apart(start):
    async with start(api_keys=("one", "two")) as service:
        service.scorer.stats = EngineCacheStats(rewards=CacheStats(num_bytes=700, max_bytes=1000))
        info = (await service.client.get("/v1/info", headers={"X-API-Key": "two"})).json()

    assert set(info["caches"]) == CachesInfo.__required_keys__
    assert set(info["caches"]["prefixes"]) == CacheInfo.__required_keys__
    assert info["caches"]["rewards"]["num_bytes"] == 700
    assert info["caches"]["rewards"]["max_bytes"] == 1000
    assert info["caches"]["per_key"] is True


async def test_metrics_are_exposition_that_parses_with_series_from_the_start(service):
    await service.client.post("/score", json={"prompt": "p", "responses": ["a", "b"]})

    reply = await service.client.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(reply.text))
    assert {"rm_admission_rejected", "rm_deadline_exceeded"} <= {one.name for one in families}
    assert await service.metric("rm_sequences_total", route="/score") == 2
    assert await service.metric("rm_ready") == 1
    assert sum(len(family.samples) for family in families) < 1200


async def test_every_example_of_the_document_works(service):
    document = (await service.client.get("/openapi.json")).json()

    num_tried = 0
    for path, operations in document["paths"].items():
        body = operations.get("post", {}).get("requestBody", {"content": {}})
        examples = body["content"].get("application/json", {}).get("examples", {})
        for name, example in examples.items():
            url = path.replace("{name}", "reward_model")
            reply = await service.client.post(url, json=example["value"])
            assert reply.status_code == 200, (path, name)
            num_tried += 1
    assert num_tried >= 15
