import httpx
import pytest
import structlog

from service.http.peer import Peer, state_with
from service.routes import health


@pytest.mark.parametrize("given", ["abc", "A-b_c.9", "x" * 64])
async def test_a_plain_request_id_is_kept(service, given):
    reply = await service.client.get("/health/live", headers={"X-Request-ID": given})

    assert reply.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\x1b[31m", "a\u2028".encode(), "{}"])
async def test_any_other_request_id_is_replaced(service, given):
    reply = await service.client.get("/health/live", headers={"X-Request-ID": given})

    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 32


async def test_paths_that_nobody_serves_share_one_series(service):
    for i in range(20):
        await service.client.get(f"/secret-{i}")
    await service.client.request("BREW", "/score")

    text = (await service.client.get("/metrics")).text
    assert "secret" not in text
    assert "BREW" not in text
    labels = {"route": "unmatched", "method": "GET", "code": "404"}
    assert await service.metric("rm_http_requests_total", **labels) == 20


async def test_requests_are_counted_by_route_method_and_code(service):
    for body in ({"prompt": "p", "response": "r"}, {}, {"prompt": "p", "response": " "}):
        await service.client.post("/score", json=body)

    for code, count in (("200", 1), ("422", 2)):
        labels = {"route": "/score", "method": "POST", "code": code}
        assert await service.metric("rm_http_requests_total", **labels) == count
    assert await service.metric("rm_http_requests_in_flight") == 0
    assert await service.metric("rm_http_request_body_bytes_count") == 3


@pytest.mark.parametrize("hears", [True, False])
async def test_an_answer_to_whoever_has_left_counts_as_an_abort(service, hears):
    peer = Peer(lambda: None, lambda: None, lambda: not hears)

    async def app(scope, receive, send):
        given = state_with(peer, dict(scope.get("state", {})))
        await service.app({**scope, "state": given}, receive, send)

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/score", json={"prompt": "p", "response": "r"})

    labels = {"route": "/score", "method": "POST", "code": "200"}
    answered = service.state.metrics.registry.get_sample_value("rm_http_requests_total", labels)
    assert (answered or 0) == hears
    assert await service.metric("rm_http_aborted_total", reason="client_disconnect") == (not hears)


async def test_a_bug_is_a_500_that_tells_the_caller_nothing(service, monkeypatch):
    def bug(_state):
        raise KeyError("internal secret")

    monkeypatch.setattr(health, "reasons_not_ready", bug)

    with structlog.testing.capture_logs() as events:
        reply = await service.client.get("/health/ready")

    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert reply.headers["content-type"] == "application/problem+json"
    assert "secret" not in reply.text
    assert "secret" not in str(events)
    assert any(event.get("error") == "KeyError" for event in events)


async def test_a_draining_service_answers_and_asks_to_connect_elsewhere(service):
    service.state.draining = True

    scored = await service.client.post("/score", json={"prompt": "p", "response": "r"})
    ready = await service.client.get("/health/ready")
    live = await service.client.get("/health/live")

    assert (scored.status_code, ready.status_code, live.status_code) == (200, 503, 200)
    assert scored.headers["connection"] == "close"
    assert ready.json()["code"] == "not_ready"
