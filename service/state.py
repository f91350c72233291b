"""What the running service holds; one object, made by `create_app`, kept on `app.state.rewardd`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request

from service.access.api_keys import ApiKeys
from service.batching.scheduler import Scheduler
from service.connections.metrics import ConnectionMetrics
from service.connections.unfinished import UnfinishedBodies
from service.observability.metrics import Metrics
from service.settings import Settings
from service.streams.service import StreamService
from service.swap.swapper import ModelSwapper
from service.versions.version import ModelVersion
from service.watchdog.engine_watch import EngineWatch


@dataclass(slots=True)
class AppState:
    """The service's parts, for handlers.

    Attributes:
        settings: frozen settings.
        swapper: of the models that serve.
        scheduler: the queue before them.
        watch: of the engine's calls.
        metrics: this app's own registry and instruments.
        clock: monotonic seconds; deadlines are on this clock.
        keys: the API keys that are accepted.
        streams: durable statistics; there from the app's start to its end.
        draining: True once the process was asked to stop; requests are still answered.
        bodies: the requests' bodies that are still arriving, bounded together.
        connections: the instruments of connections.
        on_hangup: what SIGHUP calls, in this order, on the event loop.
        num_unanswered: requests that have no reply yet.
        last_call: set when the port closes; NDJSON streams then end in order.
        device_abandoned: True once nobody waits any more for what the device is at.
    """

    settings: Settings
    swapper: ModelSwapper
    scheduler: Scheduler
    watch: EngineWatch
    metrics: Metrics
    clock: Callable[[], float]
    keys: ApiKeys
    streams: StreamService = field(init=False)
    draining: bool = False
    bodies: UnfinishedBodies = field(init=False)
    connections: ConnectionMetrics = field(init=False)
    on_hangup: list[Callable[[], None]] = field(default_factory=list)
    num_unanswered: int = 0
    last_call: asyncio.Event = field(default_factory=asyncio.Event)
    device_abandoned: bool = False

    def __post_init__(self) -> None:
        self.bodies = UnfinishedBodies(self.settings)
        self.connections = ConnectionMetrics(
            self.metrics.registry, lambda: float(self.bodies.num_bytes)
        )

    @property
    def version(self) -> ModelVersion:
        """The models that serve; a handler asks once a request."""
        return self.swapper.version

    @property
    def caches_per_key(self) -> bool:
        """Whether callers of different API keys meet nothing of each other's in the caches."""
        wanted = self.settings.cache_per_key
        return self.keys.are_several if wanted is None else wanted


async def get_state(request: Request) -> AppState:
    """The running service's state, for handlers to depend on.

    Async so that FastAPI does not take a thread to call it.
    """
    state = request.app.state.rewardd
    assert isinstance(state, AppState)  # noqa: S101 (set by create_app)
    return state


def reasons_not_ready(state: AppState) -> list[str]:
    """Why new work should go elsewhere; empty while all is well."""
    reasons = []
    if state.draining:
        reasons.append("the service is stopping")
    if (dead := reason_dead(state)) is not None:
        reasons.append(dead)
    return reasons


def reason_dead(state: AppState) -> str | None:
    """Why nothing will be scored any more, and what comes of it; None while all is well."""
    cause = state.watch.watchdog.cause
    if cause is None:
        return None
    then = "the process ends" if state.settings.watchdog else "the watchdog is off"
    return f"{cause}; {then}: restart the service"
