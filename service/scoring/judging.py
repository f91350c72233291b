"""From validated items to judgements: what /score, its NDJSON form and /compare have in common."""

from collections.abc import Sequence
from typing import Protocol

from rm_core.engine.packing.policy import Priority
from rm_core.rewards.rule import ScoredItem, judge
from rm_core.types import RewardInput, Truncation
from service.http.body import require_at_most
from service.results import ItemFailure, Judged
from service.scoring.score_items import score_dialogues
from service.state import AppState


class JudgedItem(Protocol):
    """A wire item that stands for one or more dialogues."""

    @property
    def is_safety(self) -> bool:
        """The caller's tag of the prompt."""
        ...

    def dialogues(self) -> Sequence[RewardInput]:
        """What to score."""
        ...

    def pointer_of(self, index: int, field: str) -> str:
        """Where in the item a dialogue's field stands."""
        ...


async def judge_items(
    state: AppState,
    items: Sequence[JudgedItem | ItemFailure],
    pointers: Sequence[str],
    *,
    route: str,
    truncate: Truncation = "error",
    priority: Priority = "interactive",
    deadline: float | None = None,
    patience_seconds: float | None = None,
) -> list[list[Judged]]:
    """Score and judge all responses of all items together.

    Args:
        state: the running service.
        items: wire items, or what is wrong with one.
        pointers: where each stands in the body.
        route: label of the metrics.
        truncate: what to do with a text that is too long.
        priority: class in the queue.
        deadline: on the state's clock.
        patience_seconds: how long to wait in the queue; None: as the settings say.

    Returns:
        Per item its responses' judgements or failures, the latter with pointers into the body; an
        item that was no good as a whole has one failure.

    Raises:
        Problem: the request as a whole is refused; see `score_dialogues`. More responses than
            `max_items` are a 413.
    """
    dialogues: list[Sequence[RewardInput]] = [
        [] if isinstance(item, ItemFailure) else item.dialogues() for item in items
    ]
    flat = [dialogue for own in dialogues for dialogue in own]
    require_at_most(len(flat), state.settings.max_items)
    outcomes = iter(
        await score_dialogues(
            state,
            flat,
            truncate=truncate,
            priority=priority,
            deadline=deadline,
            patience_seconds=patience_seconds,
            route=route,
        )
    )
    placed: list[list[ScoredItem | ItemFailure]] = []
    for item, pointer, own in zip(items, pointers, dialogues, strict=True):
        if isinstance(item, ItemFailure):
            placed.append([item])
        else:
            placed.append([_place(next(outcomes), item, i, pointer) for i in range(len(own))])
    return _judge_all(state, items, placed, route)


def _place(
    outcome: ScoredItem | ItemFailure, item: JudgedItem, index: int, pointer: str
) -> ScoredItem | ItemFailure:
    if isinstance(outcome, ItemFailure):
        return outcome.at(pointer + item.pointer_of(index, outcome.pointer))
    return outcome


def _judge_all(
    state: AppState,
    items: Sequence[JudgedItem | ItemFailure],
    placed: Sequence[Sequence[ScoredItem | ItemFailure]],
    route: str,
) -> list[list[Judged]]:
    scored: list[ScoredItem] = []
    tags: list[bool] = []
    for item, outcomes in zip(items, placed, strict=True):
        for outcome in outcomes:
            if isinstance(outcome, ScoredItem) and not isinstance(item, ItemFailure):
                scored.append(outcome)
                tags.append(item.is_safety)
    judgements = judge(state.rule, scored, tags)
    state.metrics.selected(route, [judgement.selected for judgement in judgements])
    remaining = iter(judgements)
    return [
        [next(remaining) if isinstance(o, ScoredItem) else o for o in outcomes]
        for outcomes in placed
    ]
