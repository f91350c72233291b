"""From dialogues to raw rewards: what every scoring route calls.

Owns the two outcomes that one item can have, and the mapping from the scheduler's refusals, which
concern the whole request, to problems.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from rm_core.rewards.rule import RewardRule, ScoredItem, apply_reward_rule
from rm_core.types import RewardInput
from service.batching.queue import Submission
from service.errors import DeadlineExceeded, DetailTooLarge, QueueFull, RequestTooLarge
from service.http.body import require_at_most
from service.problems import Problem, overloaded
from service.results import ItemFailure, ItemResult, ScoreOutcome
from service.state import AppState
from service.versions.version import ModelVersion


async def score_dialogues(
    state: AppState, dialogues: Sequence[RewardInput], submission: Submission
) -> list[ScoreOutcome]:
    """Score dialogues together with whatever other requests are waiting.

    Cancelling the call takes back what the device has not begun.

    Args:
        state: the running service.
        dialogues: what to score; an empty list costs nothing.
        submission: how they wait and are read; its deadline is on the clock of `state.clock`.

    Returns:
        One outcome per dialogue, in order.

    Raises:
        Problem: 429 or 503 (as configured) with Retry-After where the queue is full or too slow,
            413 for more tokens than one request or more rewards than one reply may hold, 504 past
            the deadline.
        EngineClosed: the engine is gone; becomes a 503.
    """
    settings, route, patience = state.settings, submission.route, submission.patience_seconds
    if patience is None:
        interactive = submission.priority == "interactive"
        patience = (
            settings.max_queue_wait_seconds if interactive else settings.max_bulk_queue_wait_seconds
        )
    try:
        return await state.scheduler.score(dialogues, submission, patience_seconds=patience)
    except QueueFull as exc:
        state.metrics.rejected(route, exc.reason, len(dialogues))
        # A client that waits, or is to go elsewhere, must not take the refusal for its own fault.
        always_503 = submission.waits or exc.reason == "stopping"
        status = 503 if always_503 else settings.overload_status
        raise overloaded(status, exc.retry_after_seconds, str(exc)) from exc
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


class ScorableItem(Protocol):
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


async def score_items(
    state: AppState,
    items: Sequence[ScorableItem | ItemFailure],
    pointers: Sequence[str],
    submission: Submission,
    version: ModelVersion | None = None,
) -> list[list[ItemResult]]:
    """Score all responses of all items together and apply the reward rule to them.

    Args:
        state: the running service.
        items: wire items, or what is wrong with one.
        pointers: where each stands in the body.
        submission: how their texts wait and are read.
        version: of the models; None: those that serve now.

    Returns:
        Per item its responses' rewards or failures, the latter with pointers into the body; an
        item that was no good as a whole has one failure.

    Raises:
        Problem: the request as a whole is refused; see `score_dialogues`. More responses than
            `max_items` are a 413, unless the request waits for room.
    """
    dialogues: list[Sequence[RewardInput]] = [
        [] if isinstance(item, ItemFailure) else item.dialogues() for item in items
    ]
    flat = [dialogue for own in dialogues for dialogue in own]
    if not submission.waits or submission.ndjson_stream is not None:  # dialects are served in parts
        require_at_most(len(flat), state.settings.max_items)
    version = version or state.version
    if submission.scorer is not version.scorer:
        submission = replace(submission, scorer=version.scorer)
    outcomes = iter(await score_dialogues(state, flat, submission))
    placed: list[list[ScoredItem | ItemFailure]] = []
    for item, pointer, own in zip(items, pointers, dialogues, strict=True):
        if isinstance(item, ItemFailure):
            placed.append([item])
        else:
            placed.append([_place(next(outcomes), item, i, pointer) for i in range(len(own))])
    results = _apply_rule(state, version.rule, items, placed, submission.route)
    if version is state.version:
        for item, own, found in zip(items, dialogues, results, strict=True):
            if not isinstance(item, ItemFailure):
                state.swapper.recent.offer(own, submission.truncate, item.is_safety, found)
    return results


def _place(
    outcome: ScoredItem | ItemFailure, item: ScorableItem, index: int, pointer: str
) -> ScoredItem | ItemFailure:
    if isinstance(outcome, ItemFailure):
        return outcome.at(pointer + item.pointer_of(index, outcome.pointer))
    return outcome


def _apply_rule(
    state: AppState,
    rule: RewardRule,
    items: Sequence[ScorableItem | ItemFailure],
    placed: Sequence[Sequence[ScoredItem | ItemFailure]],
    route: str,
) -> list[list[ItemResult]]:
    scored: list[ScoredItem] = []
    tags: list[bool] = []
    for item, outcomes in zip(items, placed, strict=True):
        for outcome in outcomes:
            if isinstance(outcome, ScoredItem) and not isinstance(item, ItemFailure):
                scored.append(outcome)
                tags.append(item.is_safety)
    responses = apply_reward_rule(rule, scored, tags)
    state.metrics.selected(route, [own.selected for own in responses if own.selected is not None])
    remaining = iter(responses)
    return [
        [next(remaining) if isinstance(o, ScoredItem) else o for o in outcomes]
        for outcomes in placed
    ]
