"""From dialogues to raw rewards: what every scoring route calls.

Owns the two outcomes that one item can have, and the mapping from the scheduler's refusals, which
concern the whole request, to problems.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rm_core.types import EncodedItem, Place, RewardInput, Role, Truncation
from service.errors import DeadlineExceeded, DetailTooLarge, QueueFull, RequestTooLarge
from service.problems import Problem, ProblemItem, overloaded, printable

if TYPE_CHECKING:
    from rm_core.engine.packing.policy import Priority
    from service.state import AppState


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why one item has no result; its neighbours have theirs.

    Attributes:
        code: stable, public name of the reason ("empty_text", "nonfinite_reward").
        detail: what is wrong and what to do about it, without the text itself.
        pointer: where; below the item as it leaves the scheduler, in the whole body once the route
            has put it `below` the item's own pointer.
        status: the HTTP status if no item of the request succeeds.
        others: further things that are wrong with the same item.
    """

    code: str
    detail: str
    pointer: str = ""
    status: int = 422
    others: tuple[ProblemItem, ...] = ()

    def below(self, pointer: str) -> "ItemFailure":
        """The same failure, its pointer prefixed by the item's own."""
        return dataclasses.replace(self, pointer=pointer + self.pointer)

    def at(self, pointer: str) -> "ItemFailure":
        """The same failure at another place."""
        return dataclasses.replace(self, pointer=pointer)

    def problem_items(self) -> list[ProblemItem]:
        """Everything that is wrong with the item, for a problem document."""
        return [ProblemItem(self.pointer, self.code, self.detail), *self.others]

    def as_json(self) -> dict[str, Any]:
        """The item's place in a reply whose other items succeeded."""
        return {
            "error": {
                "code": self.code,
                "detail": printable(self.detail),
                "pointer": self.pointer,
            }
        }


@dataclass(frozen=True, slots=True)
class Within:
    """What one model gives within a response, at the places that were asked for.

    Attributes:
        places: where.
        ids: token ids at the places.
        rewards: raw rewards there, finite.
    """

    places: tuple[Place, ...]
    ids: tuple[int, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """What the engine made of one dialogue.

    Attributes:
        rewards: raw reward of each loaded model, finite.
        num_tokens: tokens read, the longest of the models'.
        warnings: any of "missing_eos", "double_bos", "truncated".
        within: each model's rewards at further places; empty unless they were asked for.
    """

    rewards: Mapping[Role, float]
    num_tokens: int
    warnings: tuple[str, ...] = ()
    within: Mapping[Role, Within] = field(default_factory=dict)

    @classmethod
    def of(cls, item: EncodedItem, rewards: Mapping[Role, tuple[float, ...]]) -> "ScoredItem":
        """The rewards of one item as `Scorer.forward_places` gives them."""
        within = {
            role: Within(
                encoded.also_read,
                tuple(encoded.input_ids[place.position] for place in encoded.also_read),
                rewards[role][1:],
            )
            for role, encoded in item.by_role.items()
            if encoded.also_read
        }
        own = {role: values[0] for role, values in rewards.items()}
        return cls(own, item.num_tokens, item.warnings, within)


Outcome = ScoredItem | ItemFailure


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
