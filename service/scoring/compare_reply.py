"""The replies of /compare: winner, ranking and Bradley-Terry probabilities."""

from collections.abc import Sequence
from typing import Any, Literal

from rm_core.rewards import pairwise_probabilities, rank, winner
from rm_core.rewards.rule import ScoredResponse
from service.observability.metrics import Metrics
from service.results import ItemFailure, ItemResult


def comparison_json(
    results: Sequence[ItemResult], pointer: str, metrics: Metrics
) -> dict[str, Any] | ItemFailure:
    """One item's comparison; a failure if any of its responses has none to compare.

    Args:
        results: the responses' rewards or failures.
        pointer: where the item stands in the body.
        metrics: the app's instruments.
    """
    failures = [one for one in results if isinstance(one, ItemFailure)]
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
    scored_responses = [one for one in results if isinstance(one, ScoredResponse)]
    first_response = scored_responses[0]
    reply: dict[str, Any] = {}
    if first_response.roles:
        selected = [scored_response.logit for scored_response in scored_responses]
        _count(selected, metrics)
        reply = _ranking(selected)
    by_model = {
        name: _ranking([scored_response.calibrated[name] for scored_response in scored_responses])
        for name in (*first_response.roles, *first_response.further)
    }
    reply |= {role: by_model[role] for role in first_response.roles}
    if first_response.further:
        reply["rewards"] = {name: by_model[name] for name in first_response.further}
    reply["responses"] = [scored_response.as_json() for scored_response in scored_responses]
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
