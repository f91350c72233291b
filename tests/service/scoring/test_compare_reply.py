import math
from typing import Any

import pytest

from rm_client.models import ComparisonReply
from rm_core.rewards.rule import ScoredItem, ScoredResponse
from service.observability.metrics import Metrics
from service.problems import ProblemItem
from service.results import ItemFailure
from service.scoring.compare_reply import comparison_json


def results(safety: float, helpfulness: float) -> ScoredResponse:
    rewards: dict[Any, float] = {"safety": safety, "helpfulness": helpfulness}
    scores: dict[Any, float] = {"safety": 0.5, "helpfulness": 0.5}
    return ScoredResponse(ScoredItem(rewards, 3), rewards, scores, "helpfulness", helpfulness)


def compared(*rewards: float, metrics: Metrics | None = None) -> dict[str, Any]:
    scored_responses = [results(-reward, reward) for reward in rewards]
    reply = comparison_json(scored_responses, "/items/0", metrics or Metrics())
    assert isinstance(reply, dict)
    ComparisonReply.model_validate(reply, strict=True, extra="forbid")
    return reply


def test_the_selected_reward_ranks_and_each_model_ranks_by_itself() -> None:
    reply = compared(1.0, 3.0, 2.0)

    assert (reply["winner"], reply["ranking"], reply["ranks"]) == (1, [1, 2, 0], [3, 1, 2])
    assert reply["helpfulness"]["ranking"] == [1, 2, 0]
    assert reply["safety"]["ranking"] == [0, 2, 1]
    assert reply["probabilities"][1][0] == pytest.approx(1.0 / (1.0 + math.exp(-2.0)))


def test_the_best_two_that_tie_have_no_winner_and_stay_in_the_order_of_the_request() -> None:
    reply = compared(1.0, 3.0, 3.0)

    assert reply["winner"] is None
    assert (reply["ranking"], reply["ranks"]) == ([1, 2, 0], [3, 1, 1])


@pytest.mark.parametrize(
    ("rewards", "outcome"), [((2.0, 1.0), "first"), ((1.0, 2.0), "second"), ((1.0, 1.0), "tie")]
)
def test_pairs_are_counted_by_their_outcome(rewards: tuple[float, ...], outcome: str) -> None:
    metrics = Metrics()

    compared(*rewards, metrics=metrics)

    counted = {
        name: metrics.registry.get_sample_value("rm_compare_total", {"outcome": name}) or 0.0
        for name in ("first", "second", "tie")
    }
    assert counted == {"first": 0.0, "second": 0.0, "tie": 0.0, outcome: 1.0}


def test_the_margin_is_the_best_over_the_second_best() -> None:
    metrics = Metrics()

    compared(-5.0, 4.0, 3.5, metrics=metrics)

    assert metrics.registry.get_sample_value("rm_compare_margin_sum") == 0.5


def test_one_response_that_failed_fails_the_comparison_and_all_reasons_are_told() -> None:
    other = ProblemItem("/items/0/responses/0", "second_reason", "also this")
    first = ItemFailure("empty_text", "nothing", "/items/0/responses/0", 422, (other,))
    second = ItemFailure("engine_error", "failed", "/items/0/responses/2", 500)

    failure = comparison_json([first, results(1.0, 1.0), second], "/items/0", Metrics())

    assert isinstance(failure, ItemFailure)
    assert failure.status == 500
    assert [item.code for item in failure.problem_items()] == [
        "empty_text",
        "second_reason",
        "engine_error",
    ]


def test_a_failure_of_the_whole_item_points_at_the_item() -> None:
    failure = comparison_json([ItemFailure("invalid_item", "no object")], "/items/4", Metrics())

    assert isinstance(failure, ItemFailure)
    assert failure.pointer == "/items/4"
