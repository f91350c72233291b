"""The replies of /score: single responses, and groups with their statistics and advantages."""

from collections.abc import Sequence
from typing import Any

from rm_client.models import GroupItem, ScoreOptions
from rm_core.rewards import DEGENERATE_STD, advantages_of, statistics_of
from rm_core.rewards.rule import ScoredResponse
from service.observability.metrics import Metrics
from service.results import ItemResult
from service.scoring.detail import response_json

_DEFAULTS = ScoreOptions()


def item_json(
    item: object,
    results: Sequence[ItemResult],
    metrics: Metrics,
    options: ScoreOptions = _DEFAULTS,
) -> dict[str, Any]:
    """One item's place in the reply.

    Args:
        item: as it was validated; a `GroupItem` gets the group's statistics.
        results: its responses' rewards or failures.
        metrics: the app's instruments.
        options: what the request asks for.
    """
    responses = [
        response_json(one, item, options) if isinstance(one, ScoredResponse) else one.as_json()
        for one in results
    ]
    if isinstance(item, GroupItem) and any(isinstance(one, ScoredResponse) for one in results):
        return {"responses": responses, **_statistics_json(item, results, metrics, options)}
    return responses[0]


def _statistics_json(
    item: GroupItem, results: Sequence[ItemResult], metrics: Metrics, options: ScoreOptions
) -> dict[str, Any]:
    duplicates = _duplicates(item.responses)
    rewards = [one.logit for one in results if isinstance(one, ScoredResponse) and one.selected]
    if not rewards:  # neither model of the rule's is loaded
        nothing = {"mean": None, "std": None, "advantages": [None] * len(results)}
        alike = {"num_duplicates": len(duplicates), "duplicates": duplicates}
        return {**nothing, **alike, "degenerate": None}
    statistics = statistics_of(rewards)
    found = iter(advantages_of(rewards, ["group"] * len(rewards), options.advantages).tolist())
    std = statistics.std or 0.0  # None for a single response
    degenerate = std < DEGENERATE_STD
    metrics.group_size.observe(len(results))
    metrics.group_std.observe(std)
    metrics.groups.inc()
    metrics.groups_zero_std.inc(int(degenerate))
    metrics.group_duplicates.inc(len(duplicates))
    return {
        "mean": statistics.mean,
        "std": std,
        "advantages": [next(found) if isinstance(one, ScoredResponse) else None for one in results],
        "num_duplicates": len(duplicates),
        "duplicates": duplicates,
        "degenerate": degenerate,
    }


def _duplicates(responses: Sequence[str]) -> list[int]:
    """Indices of responses that equal an earlier one."""
    first: dict[str, int] = {}
    return [i for i, text in enumerate(responses) if first.setdefault(text, i) != i]
