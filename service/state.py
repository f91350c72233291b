"""What the running service holds; one object, made by `create_app`, kept on `app.state.rewardd`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request

from rm_core.rewards.rule import RewardRule
from rm_core.types import Scorer
from service.access.api_keys import ApiKeys
from service.batching.scheduler import Scheduler
from service.observability.metrics import Metrics
from service.settings import Settings
from service.streams.service import StreamService


@dataclass(slots=True)
class AppState:
    """The service's parts, for handlers.

    Attributes:
        settings: frozen settings.
        scorer: the loaded models.
        scheduler: the queue before them.
        metrics: this app's own registry and instruments.
        rule: calibrations and τ, from the checkpoints and the settings.
        clock: monotonic seconds; deadlines are on this clock.
        keys: the API keys that are accepted.
        streams: durable statistics; there from the app's start to its end.
        draining: True once the process was asked to stop; requests are still answered.
        on_hangup: what SIGHUP calls, in this order, on the event loop.
    """

    settings: Settings
    scorer: Scorer
    scheduler: Scheduler
    metrics: Metrics
    rule: RewardRule
    clock: Callable[[], float]
    keys: ApiKeys
    streams: StreamService = field(init=False)
    draining: bool = False
    on_hangup: list[Callable[[], None]] = field(default_factory=list)

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
    if not state.scheduler.is_alive:
        reasons.append("the device thread has ended; restart the service")
    if state.scheduler.forward_seconds > state.settings.forward_timeout_seconds:
        reasons.append("the forward pass hangs; restart the service")
    return reasons
