from typing import Any

import pytest
import torch

from rm_core.errors import ConfigurationError
from training.losses import (
    OBJECTIVES,
    Rewards,
    check_head,
    parse_objectives,
    reads_margins,
    targets_of,
)

BATCH = {
    "chosen": torch.tensor([0, 2]),
    "rejected": torch.tensor([1, 1]),
    "pair_counts": torch.tensor([2]),
    "places": torch.tensor([[2, 0, 1]]),
    "listed": torch.tensor([[True, True, True]]),
    "ranks": torch.tensor([[0, 1, 2]]),
    "rated": torch.tensor([0, 1]),
    "rating": torch.tensor([1.0, 0.0]),
    "token_chosen": torch.tensor([0, 2]),
    "token_rejected": torch.tensor([1, 1]),
    "token_counts": torch.tensor([1, 1]),
    "step_read": torch.tensor([0, 1]),
    "step_label": torch.tensor([1.0, 0.0]),
    "labelled": torch.tensor([0, 1]),
    "is_safe": torch.tensor([1.0, 0.0]),
}
"""What three responses of one prompt have that any objective looks at."""


def test_every_spelling_of_a_set_means_the_same() -> None:
    expected = {"bradley_terry": 1.0, "centering": 0.01}
    assert parse_objectives({"bradley_terry": 1, "centering": 0.01}) == expected
    assert parse_objectives(["bradley_terry", "centering=0.01"]) == expected
    assert parse_objectives("bradley_terry") == {"bradley_terry": 1.0}
    assert parse_objectives([" hinge = 2"]) == {"hinge": 2.0}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bradly_terry", "bradley_terry"),
        (["hinge", "hinge=2"], "twice"),
        (["hinge=much"], "number"),
        ({"hinge": "much"}, "number"),
        ({"hinge": True}, "number"),
        ({"hinge": 0}, "greater than 0"),
        ({"hinge": float("inf")}, "finite"),
        ({"hinge": -1}, "greater than 0"),
        (["centering=0.01"], "learn nothing"),
        (["centering", "l2"], "learn nothing"),
        ({}, "learn nothing"),
        (3, "table"),
        ([3], "table"),
    ],
)
def test_a_set_that_cannot_be_trained_on_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_objectives(value)


def test_what_a_set_learns_from_leaves_out_its_regularisers() -> None:
    assert targets_of({"regression": 1.0, "centering": 0.1, "l2": 0.1}) == {"ratings"}
    assert targets_of({"kwise": 1.0, "steps": 1.0}) == {"pairs", "steps"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_said_to_read_margins_does_and_nothing_else(name: str) -> None:
    rewards = Rewards(torch.tensor([0.3, -0.2, 0.5]), torch.tensor([0.3, -0.2, 0.5]))
    terms = []
    for margin in (0.0, 1.5):
        batch = {**BATCH, "margin": torch.full((2,), margin)}
        terms.append(OBJECTIVES[name].terms(batch, rewards))

    assert torch.equal(*terms) != OBJECTIVES[name].reads_margins
    assert reads_margins({name: 1.0, "l2": 0.1}) == OBJECTIVES[name].reads_margins


def test_objectives_within_a_response_need_a_head_on_every_token_and_the_head_needs_them() -> None:
    check_head({"bradley_terry": 1.0, "steps": 1.0}, "per_token")
    check_head({"bradley_terry": 1.0}, "mean")
    for head in ("last_token", "mean"):
        with pytest.raises(ConfigurationError, match="per_token"):
            check_head({"token_bradley_terry": 1.0}, head)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="token_bradley_terry or steps"):
        check_head({"bradley_terry": 1.0}, "per_token")


def test_a_response_s_reward_is_that_of_its_reads_by_their_shares() -> None:
    batch = {
        "read_counts": torch.tensor([1, 3, 2]),
        "read_share": torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5, 0.5]),
    }
    rewards = Rewards.of(torch.tensor([1.0, 2, 3, 4, 5, 6]), batch)
    assert rewards.of_responses.tolist() == [1, 4, 5.5]


def test_every_objective_has_as_many_weights_as_terms() -> None:
    each_read_is_a_response = {"read_counts": torch.tensor([1, 1, 1]), "read_share": torch.ones(3)}
    batch = BATCH | each_read_is_a_response
    batch |= {"margin": torch.zeros(2), "weight": torch.ones(2), "response_weight": torch.ones(3)}
    rewards = Rewards.of(torch.tensor([1.0, 0.5, -1.0]), batch)
    for objective in OBJECTIVES.values():
        assert objective.terms(batch, rewards).shape == objective.weights(batch).shape
