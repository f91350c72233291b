"""The replies of /compare: winner, ranking and Bradley-Terry probabilities."""

from collections.abc import Sequence
from typing import Any, Literal

from rm_core.rewards import pairwise_probabilities, rank, winner
from rm_core.rewards.rule import Judgement
from service.observability.metrics import Metrics
from service.results import ItemFailure, Judged


def comparison_json(
    judged: Sequence[Judged], pointer: str, metrics: Metrics
) -> dict[str, Any] | ItemFailure:
    """One item's comparison; a failure if any of its responses has none to compare.

    Args:
        judged: the responses' judgements or failures.
        pointer: where the item stands in the body.
        metrics: the app's instruments.
    """
    failures = [one for one in judged if isinstance(one, ItemFailure)]
    if failures:
        first, *others = failures
        listed = [problem for failure in others for problem in failure.problem_items()]
        return ItemFailure(
            first.code,
            first.detail,
            first.pointer or pointer,
            max(failure.status for failure in failures),
            (*first.others, *listed),
        )
    judgements = [one for one in judged if isinstance(one, Judgement)]
    selected = [judgement.logit for judgement in judgements]
    _count(selected, metrics)
    reply = _ranking(selected)
    for role in judgements[0].calibrated:
        reply[role] = _ranking([judgement.calibrated[role] for judgement in judgements])
    reply["responses"] = [judgement.as_json() for judgement in judgements]
    return reply


def _ranking(rewards: Sequence[float]) -> dict[str, Any]:
    ranks = rank(rewards)
    return {
        "winner": winner(rewards),
        "ranking": sorted(range(len(ranks)), key=ranks.__getitem__),
        "ranks": ranks,
        "probabilities": pairwise_probabilities(rewards).tolist(),
    }


def _count(rewards: Sequence[float], metrics: Metrics) -> None:
    best, second = sorted(rewards, reverse=True)[:2]
    metrics.compare_margin.observe(best - second)
    if len(rewards) == 2:
        outcome: Literal["first", "second", "tie"] = "tie"
        if rewards[0] != rewards[1]:
            outcome = "first" if rewards[0] > rewards[1] else "second"
        metrics.compare.labels(outcome).inc()
