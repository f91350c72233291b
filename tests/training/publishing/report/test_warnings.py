"""Each warning is said where its figures say so, and only there."""

from dataclasses import replace
from typing import Any

import numpy as np

from tests.training.publishing.report.made_up_inputs import comparisons, report_inputs
from training.data.audit import Contradiction
from training.evaluation import accuracy_of
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.warnings import warnings_of


def said(given: ReportInputs, words: str) -> bool:
    return any(words in sentence for sentence in warnings_of(given))


def good(prompts: int = 150) -> ReportInputs:
    """A model without fault: right in nine of ten pairs, and as sure as that."""
    made, _ = comparisons(2 * prompts, safety=False)
    pairs = [one for one in made if len(one.responses) == 2][:prompts]
    rewards = [(0.0, 2.2) if n % 10 == 3 else (2.2, 0.0) for n in range(len(pairs))]  # σ(2.2) = 0.9
    given = report_inputs(pairs, rewards, role="helpfulness")
    return replace(given, data=replace(given.data, records_read=1000))


def rescaled(given: ReportInputs, factor: float) -> ReportInputs:
    rewards = [tuple(factor * reward for reward in own) for own in given.rewards]
    return report_inputs(given.examples, rewards, role="helpfulness")


def baseline(value: float, pairs: int = 200) -> dict[str, Any]:
    right = round(value * pairs)
    gaps = np.array([1.0] * right + [-1.0] * (pairs - right))
    return {"bag_of_words": accuracy_of(gaps, [str(i) for i in range(pairs)])}


def test_a_good_model_is_warned_of_nothing() -> None:
    assert warnings_of(replace(good(), baselines=baseline(0.55))) == []


def test_a_baseline_that_wins_is_named_with_both_figures() -> None:
    given = replace(good(), baselines=baseline(0.99))

    assert warnings_of(given)[0].startswith(
        "A baseline does as well or better: “bag of words” has 99"
    )


def test_a_baseline_within_the_interval_is_no_win_for_the_model() -> None:
    given = good()
    just_below = given.figures.pairs.accuracy.value - 0.01

    assert said(replace(given, baselines=baseline(just_below)), "lies within the model's interval")
    assert not said(replace(given, baselines=baseline(0.55)), "lies within")


def test_a_model_that_may_be_guessing_is_said_to() -> None:
    made, _ = comparisons(60, safety=False)
    rng = np.random.default_rng(5)
    rewards = [tuple(rng.normal(size=len(one.responses)).tolist()) for one in made]

    assert said(report_inputs(made, rewards, role="helpfulness"), "it may be guessing")
    assert not said(good(), "it may be guessing")


def test_a_model_that_counts_characters_is_biased_by_length() -> None:
    made, _ = comparisons(80, safety=False)
    longer = [tuple(float(len(text)) for text in one.responses) for one in made]
    shorter = [tuple(-float(len(text)) for text in one.responses) for one in made]

    assert said(report_inputs(made, longer, role="helpfulness"), "prefers the longer one in 100 %")
    assert said(
        report_inputs(made, shorter, role="helpfulness"), "prefers the shorter one in 100 %"
    )
    assert not said(good(), "Length bias")


def test_inflated_rewards_are_overconfident_and_tiny_ones_underconfident() -> None:
    given = good()

    assert said(rescaled(given, 20.0), "of pairs are overconfident")
    assert said(rescaled(given, 0.05), "of pairs are underconfident")
    assert not said(given, "confident")


def test_a_safety_model_without_a_threshold_is_said_to_have_none() -> None:
    made, rewards = comparisons(6)

    assert said(report_inputs(made, rewards), "no safety threshold of its own (too few labels")
    assert not said(good(), "threshold")


def test_a_held_out_loss_far_above_training_s_is_learning_by_heart() -> None:
    given = good()
    low = [{"step": n, "loss": 0.01} for n in range(1, 21)]
    same = [{"step": n, "loss": 0.4} for n in range(1, 21)]

    assert said(replace(given, history=low), "by heart")
    assert not said(replace(given, history=same), "by heart")


def test_few_prompts_contradictions_and_much_that_was_dropped_are_told() -> None:
    given = good()
    data = replace(given.data, contradictions=(Contradiction("a", "b"),), records_read=9)

    assert said(replace(given, data=data), "contradict themselves 1 times")
    assert said(replace(given, data=data), "left out of 2 of 9 rows")
    assert not said(replace(given, data=replace(data, records_read=1000)), "left out of")
    assert said(good(prompts=40), "Only 40 prompts")
