"""Whether an answer fits its question: as many results as items, of the right kinds and lengths.

A list that is one short would silently give every later sample its neighbour's reward.
"""

from collections.abc import Mapping, Sequence

from rm_client.errors import InvalidReply, ItemsFailed
from rm_client.models import (
    CompareItem,
    ComparisonReply,
    ErrorReply,
    FailedReply,
    GroupItem,
    GroupReply,
    RankingReply,
    ResponseReply,
    ScoreItem,
    ScoreResult,
)
from rm_client.models_ppo import PpoItem, PpoItemReply

PASSING_CODES = frozenset(
    {
        "overloaded",
        "deadline_exceeded",
        "engine_closed",
        "draining",
        "not_ready",
        "internal_error",
    }
)
"""Codes of item errors that lie in the moment and not in the item, which may be scored later."""

SERVER_CODES = PASSING_CODES | {"engine_error", "tokenizing_failed", "no_chat_template"}
"""Codes of item errors that lie in the server, its set-up included, and not in the item."""


def check_scores(items: Sequence[ScoreItem], results: Sequence[ScoreResult]) -> None:
    """Raise InvalidReply unless every item has a result of its own kind."""
    _require_length("items", len(items), len(results))
    for index, (item, result) in enumerate(zip(items, results, strict=True)):
        if isinstance(result, FailedReply):
            continue
        if isinstance(item, GroupItem) != isinstance(result, GroupReply):
            raise InvalidReply(f"the result of item {index} is of another kind than the item")
        if isinstance(item, GroupItem) and isinstance(result, GroupReply):
            place = f"items.{index}."
            _require_length(f"{place}responses", len(item.responses), len(result.responses))
            _require_length(f"{place}advantages", len(item.responses), len(result.advantages))


def check_comparisons(
    items: Sequence[CompareItem], results: Sequence[ComparisonReply | FailedReply]
) -> None:
    """Raise InvalidReply unless every ranking is one of its own item's responses."""
    _require_length("items", len(items), len(results))
    for index, (item, result) in enumerate(zip(items, results, strict=True)):
        if isinstance(result, FailedReply):
            continue
        size = len(item.responses)
        _require_length(f"items.{index}.responses", size, len(result.responses))
        for ranking in (result, result.safety, result.helpfulness):
            if ranking is not None:
                _require_ranking(ranking, size, index)


def check_ppo(items: Sequence[PpoItem], results: Sequence[PpoItemReply | FailedReply]) -> None:
    """Raise InvalidReply unless every item has its result, with a reward for each token."""
    _require_length("items", len(items), len(results))
    for index, (item, result) in enumerate(zip(items, results, strict=True)):
        if isinstance(result, FailedReply):
            continue
        if result.id != item.id:
            raise InvalidReply(f"the result of item {index} has another item's id")
        if item.logprobs:
            found = result.token_rewards
            if found is None:
                raise InvalidReply(f"the result of item {index} has no token_rewards")
            _require_length(f"items.{index}.token_rewards", len(item.logprobs), len(found))


def raise_failures(
    results: Sequence[ResponseReply | GroupReply | ComparisonReply | PpoItemReply | FailedReply],
    *,
    first_index: int = 0,
) -> None:
    """Raise ItemsFailed if any of `results`, or of a group's responses, is a failure."""
    failures = failures_of(results, first_index=first_index)
    if failures:
        raise ItemsFailed(failures)


def failures_of(
    results: Sequence[ResponseReply | GroupReply | ComparisonReply | PpoItemReply | FailedReply],
    *,
    first_index: int = 0,
) -> Mapping[int | tuple[int, int], ErrorReply]:
    """The errors among `results` by index; of a group's responses by (index, response)."""
    failures: dict[int | tuple[int, int], ErrorReply] = {}
    for index, result in enumerate(results, start=first_index):
        if isinstance(result, FailedReply):
            failures[index] = result.error
        elif isinstance(result, GroupReply):
            for number, response in enumerate(result.responses):
                if isinstance(response, FailedReply):
                    failures[index, number] = response.error
    return failures


def _require_ranking(ranking: RankingReply, size: int, index: int) -> None:
    whole = list(range(size))
    fits = (
        sorted(ranking.ranking) == whole
        and len(ranking.ranks) == size
        and (ranking.winner is None or ranking.winner in whole)
        and [len(row) for row in ranking.probabilities] == [size] * size
    )
    if not fits:
        raise InvalidReply(f"the ranking of item {index} is not one of its {size} responses")


def _require_length(name: str, expected: int, found: int) -> None:
    if found != expected:
        raise InvalidReply(
            f"the reply's {name} has {found} entries where {expected} were asked for"
        )
