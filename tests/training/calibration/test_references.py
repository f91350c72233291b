"""Baseline and quantiles of reference responses, and reading them."""

from pathlib import Path

import numpy as np
import pytest

from service.observability.drift import DriftWindow
from tests.rewards import reward_alone
from tests.training.samples import write_jsonl
from training.calibration.readers import trained_reader
from training.calibration.references import (
    baseline_of,
    quantiles_of,
    read_references,
    reference_rewards,
)
from training.errors import DataError
from training.evaluation.scorer import Candidate, Refusal
from training.modeling.reward_model import TrainableModel


def test_the_baseline_is_mean_and_unbiased_deviation() -> None:
    baseline = baseline_of(np.array([1.0, 2.0, 4.0, 5.0]), weight=32.0)

    assert (baseline.mean, baseline.weight) == (3.0, 4.0)
    assert baseline.std == pytest.approx((10 / 3) ** 0.5)


@pytest.mark.parametrize("rewards", [[], [1.0], [2.0, 2.0, 2.0]])
def test_rewards_without_spread_have_no_baseline(rewards: list[float]) -> None:
    assert baseline_of(np.array(rewards), weight=32.0) is None


def test_quantiles_of_a_hundred_and_one_even_steps_are_the_steps() -> None:
    quantiles = quantiles_of(np.arange(101.0)[::-1])

    assert quantiles.probabilities == (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    np.testing.assert_allclose(quantiles.values, [1, 5, 10, 25, 50, 75, 90, 95, 99])
    assert quantiles.responses == 101


def test_few_responses_have_fewer_quantiles_or_none() -> None:
    fifty = quantiles_of(np.arange(50.0))

    assert fifty.probabilities == (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    assert quantiles_of(np.arange(19.0)) is None
    assert quantiles_of(np.zeros(100)) is None


@pytest.mark.parametrize("kind", ["even", "atoms", "two values", "rounded"])
def test_the_references_themselves_show_no_drift(kind: str) -> None:
    generator = np.random.default_rng(0)
    rewards = {
        "even": generator.normal(size=400),
        "atoms": np.repeat([-1.0, 0.0, 1.0], [40, 240, 120]),
        "two values": np.repeat([0.0, 1.0], [300, 100]),
        "rounded": generator.normal(size=400).round(),
    }[kind]
    quantiles = quantiles_of(rewards)
    window = DriftWindow(quantiles)

    for reward in rewards:
        window.observe(float(reward))

    assert window.psi < 0.001


def test_reference_responses_are_scored_as_the_model_scores_each_alone(
    start: TrainableModel, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "Why?", "responses": ["Because.", "", "It is so."]},
        {"prompt": "How?", "response": "Slowly."},
        {"prompt": "Long?", "response": "word " * 400},
    ]

    path = write_jsonl(tmp_path / "policy.jsonl", rows)

    read = trained_reader(start.model, start.encoder, pad_token_id=start.pad_token_id)
    found = reference_rewards(read_references([str(path)]), ["policy"], read)

    texts = [("Why?", "Because."), ("Why?", "It is so."), ("How?", "Slowly.")]
    alone = [reward_alone(start.model, start.encoder, *text) for text in texts]
    assert found.rewards == pytest.approx(alone, abs=1e-5)
    assert found.source == (
        "3 reference responses from policy; not scored: 1 × empty_text, 1 × input_too_long"
    )


def test_references_of_which_none_can_be_scored_are_an_error() -> None:
    refused = [Refusal("input_too_long"), Refusal("input_too_long")]

    with pytest.raises(DataError, match=r"policy.jsonl can be scored: 2 × input_too_long"):
        reference_rewards([Candidate("p", "r")] * 2, ["policy.jsonl"], lambda _: refused)
