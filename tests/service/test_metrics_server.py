import socket

import httpx
import pytest
import uvicorn

from rm_core.errors import ConfigurationError
from service.metrics_server import serving_metrics
from service.preflight import bound_metrics_sockets
from service.settings import Settings


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def test_it_serves_until_the_context_ends_and_gives_its_port_back():
    sockets = bound_metrics_sockets(Settings(metrics_port=0, host="127.0.0.1"))
    assert sockets is not None
    port = sockets[0].getsockname()[1]

    async with serving_metrics(uvicorn.Config(app, log_config=None), sockets):
        async with httpx.AsyncClient() as client:
            reply = await client.get(f"http://127.0.0.1:{port}/metrics")
        assert reply.text == "/metrics"

    socket.create_server(("127.0.0.1", port)).close()


def test_a_port_that_is_taken_is_told_by_its_own_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(metrics_port=taken.getsockname()[1], metrics_host="127.0.0.1")
        with pytest.raises(ConfigurationError, match=r"metrics_port: port .* REWARDD_METRICS_PORT"):
            bound_metrics_sockets(settings)
