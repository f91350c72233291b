from typing import Any

import pytest

from rm_client.models import GroupItem, GroupReply, ResponseItem, ResponseReply, ScoreOptions
from rm_core.rewards.rule import ScoredItem, ScoredResponse
from service.observability.metrics import Metrics
from service.results import ItemFailure
from service.scoring.score_reply import item_json

GROUP = GroupItem(prompt="p", responses=["a", "b", "c"])
FAILURE = ItemFailure("empty_text", "nothing to judge", "/items/0/responses/1")


def results(reward: float) -> ScoredResponse:
    rewards: dict[Any, float] = {"safety": reward}
    return ScoredResponse(ScoredItem(rewards, 3), rewards, {"safety": 0.5}, "safety", reward)


def test_a_groups_statistics_are_of_those_that_succeeded() -> None:
    metrics = Metrics()

    reply = item_json(GROUP, [results(1.0), FAILURE, results(4.0)], metrics)

    GroupReply.model_validate(reply, strict=True, extra="forbid")
    assert reply["mean"] == 2.5
    assert reply["std"] == pytest.approx(4.5**0.5)
    assert reply["advantages"] == [
        pytest.approx(-(0.5**0.5)),
        None,
        pytest.approx(0.5**0.5),
    ]
    assert reply["responses"][1] == FAILURE.as_json()
    assert metrics.registry.get_sample_value("rm_groups_total") == 1.0
    assert metrics.registry.get_sample_value("rm_groups_zero_std_total") == 0.0


@pytest.mark.parametrize("rewards", [[2.0], [2.0, 2.0, 2.0]])
def test_a_group_without_spread_teaches_nothing_and_is_counted(rewards: list[float]) -> None:
    metrics = Metrics()

    reply = item_json(GROUP, [results(reward) for reward in rewards], metrics)

    assert reply["std"] == 0.0
    assert reply["advantages"] == [0.0] * len(rewards)
    assert reply["degenerate"] is True
    assert metrics.registry.get_sample_value("rm_groups_zero_std_total") == 1.0


def test_rewards_that_differ_by_rounding_alone_are_degenerate() -> None:
    metrics = Metrics()

    noise = item_json(GROUP, [results(2.0), results(2.0 + 1e-6), results(2.0)], metrics)
    signal = item_json(GROUP, [results(2.0), results(2.001), results(2.0)], metrics)

    assert (noise["degenerate"], signal["degenerate"]) == (True, False)
    assert metrics.registry.get_sample_value("rm_groups_zero_std_total") == 1.0


def test_a_failed_response_counts_among_the_duplicates_and_has_no_advantage() -> None:
    group = GroupItem(prompt="p", responses=["a", " ", " "])

    reply = item_json(
        group, [results(1.0), FAILURE, FAILURE], Metrics(), ScoreOptions(advantages="rloo")
    )

    assert (reply["duplicates"], reply["num_duplicates"]) == ([2], 1)
    assert reply["advantages"] == [0.0, None, None]


def test_a_group_of_failures_alone_is_a_failed_item_and_no_group() -> None:
    metrics = Metrics()

    assert item_json(GROUP, [FAILURE, FAILURE], metrics) == FAILURE.as_json()
    assert metrics.registry.get_sample_value("rm_groups_total") == 0.0


def test_a_single_response_has_no_statistics() -> None:
    reply = item_json(ResponseItem(prompt="p", response="r"), [results(1.0)], Metrics())

    ResponseReply.model_validate(reply, strict=True, extra="forbid")
    assert reply["selected_reward"] == 1.0
