"""/metrics on a port of its own, for networks in which scrapers reach nothing else."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import structlog
import uvicorn

_DRAIN_SECONDS = 5
_LOOK_SECONDS = 0.01

_log = structlog.get_logger(__name__)


class MetricsServer(uvicorn.Server):
    """A server beside the service's own, which alone hears signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@contextlib.asynccontextmanager
async def serving_metrics(
    config: uvicorn.Config, sockets: Sequence[socket.socket]
) -> AsyncIterator[None]:
    """Serve metrics until the context ends, so that a drain can be watched to its end.

    Args:
        config: of a server for the app that has /metrics and nothing else.
        sockets: bound to the address; closed in the end.
    """
    config.lifespan = "off"  # the service's own app begins and ends what both share
    config.timeout_graceful_shutdown = _DRAIN_SECONDS
    server = MetricsServer(config)
    serving = asyncio.create_task(server.serve(list(sockets)), name="rewardd-metrics")
    while not server.started and not serving.done():  # noqa: ASYNC110 (uvicorn has no event)
        await asyncio.sleep(_LOOK_SECONDS)
    if serving.done():
        await serving  # says why
    host, port = sockets[0].getsockname()[:2]
    _log.info("metrics_listening", host=host, port=port)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
