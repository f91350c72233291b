"""The replies of /score: single responses, and groups with GRPO's statistics."""

from collections.abc import Sequence
from typing import Any

from rm_core.rewards import group_advantages, statistics_of
from service.judging import Judged
from service.metrics import Metrics
from service.reply import Judgement
from service.schemas import GroupItem


def item_json(item: object, judged: Sequence[Judged], metrics: Metrics) -> dict[str, Any]:
    """One item's place in the reply.

    Args:
        item: as it was validated; a `GroupItem` gets the group's statistics.
        judged: its responses' judgements or failures.
        metrics: the app's instruments.
    """
    if isinstance(item, GroupItem) and any(isinstance(one, Judgement) for one in judged):
        return _group_json(judged, metrics)
    return judged[0].as_json()


def _group_json(judged: Sequence[Judged], metrics: Metrics) -> dict[str, Any]:
    rewards = [one.logit for one in judged if isinstance(one, Judgement)]
    statistics = statistics_of(rewards)
    advantages = iter(group_advantages(rewards, ["group"] * len(rewards)).tolist())
    std = statistics.std or 0.0  # None for a single response
    metrics.group_size.observe(len(judged))
    metrics.group_std.observe(std)
    metrics.groups.inc()
    if std == 0.0:
        metrics.groups_zero_std.inc()
    return {
        "responses": [one.as_json() for one in judged],
        "mean": statistics.mean,
        "std": std,
        "advantages": [next(advantages) if isinstance(one, Judgement) else None for one in judged],
    }
