"""From dialogues to raw rewards: what every scoring route calls.

Owns the two outcomes that one item can have, and the mapping from the scheduler's refusals, which
concern the whole request, to problems.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm_core.types import RewardInput, Truncation
from service.errors import DeadlineExceeded, DetailTooLarge, QueueFull, RequestTooLarge
from service.problems import Problem, overloaded
from service.results import Outcome

if TYPE_CHECKING:
    from rm_core.engine.packing.policy import Priority
    from service.state import AppState


async def score_dialogues(
    state: "AppState",
    dialogues: Sequence[RewardInput],
    *,
    truncate: Truncation = "error",
    priority: "Priority" = "interactive",
    deadline: float | None = None,
    patience_seconds: float | None = None,
    route: str = "/score",
) -> list[Outcome]:
    """Score dialogues together with whatever other requests are waiting.

    Cancelling the call takes back what the device has not begun.

    Args:
        state: the running service.
        dialogues: what to score; an empty list costs nothing.
        truncate: what to do with a dialogue that is too long.
        priority: "interactive" goes before "bulk" and is shed sooner.
        deadline: when the answer is useless, on the clock of `state.clock`; None: never.
        patience_seconds: how long to wait for the first item to begin; None: as the settings say.
        route: the route's path, a label of the metrics.

    Returns:
        One outcome per dialogue, in order.

    Raises:
        Problem: 429 or 503 (as configured) with Retry-After where the queue is full or too slow,
            413 for more tokens than one request or more rewards than one reply may hold, 504 past
            the deadline.
        EngineClosed: the engine is gone; becomes a 503.
    """
    settings = state.settings
    if patience_seconds is None:
        patience_seconds = (
            settings.max_queue_wait_seconds
            if priority == "interactive"
            else settings.max_bulk_queue_wait_seconds
        )
    try:
        return await state.scheduler.score(
            dialogues,
            truncate=truncate,
            priority=priority,
            deadline=deadline,
            max_wait_seconds=patience_seconds,
            route=route,
        )
    except QueueFull as exc:
        state.metrics.rejected(route, exc.reason, len(dialogues))
        raise overloaded(settings.overload_status, exc.retry_after_seconds, str(exc)) from exc
    except (RequestTooLarge, DetailTooLarge) as exc:
        raise Problem(413, exc.code, str(exc)) from exc
    except DeadlineExceeded as exc:
        state.metrics.deadline_exceeded(exc.stage, len(dialogues))
        raise Problem(
            504,
            "deadline_exceeded",
            "The time given in X-Request-Timeout-Ms passed before the answer was ready; "
            "allow more or send fewer items.",
        ) from exc
