import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from rm_core.types import Dialogue
from training.comparisons import Comparison, Pair
from training.evaluate import accuracy_of, evaluate, score_comparisons, wilson_interval
from training.models import UntrainedRewardModel


def comparison(key: str, pairs: tuple[Pair, ...], responses: int = 2) -> Comparison:
    return Comparison(key, key, key, ("x",) * responses, (), pairs, (None,) * responses)


def test_a_constant_scorer_has_accuracy_exactly_one_half_with_every_pair_a_tie() -> None:
    comparisons = [comparison(str(i), (Pair(i % 2, 1 - i % 2),)) for i in range(7)]
    figures = evaluate(comparisons, [(3.0, 3.0)] * 7)
    assert figures.accuracy.value == 0.5
    assert figures.accuracy.ties == 7
    assert figures.loss == pytest.approx(math.log(2))
    assert not figures.accuracy.excludes_chance


def test_figures_are_those_counted_by_hand() -> None:
    comparisons = [
        comparison("a", (Pair(0, 1, 1.0, "better"),)),
        comparison("b", (Pair(0, 1), Pair(0, 2), Pair(1, 2)), responses=3),
        comparison("c", (Pair(1, 0, 0.5, "slightly_better"),)),
    ]
    figures = evaluate(comparisons, [(2.0, 0.0), (1.0, 1.0, 3.0), (0.0, 1.0)])
    gaps = np.array([2.0, 0.0, -2.0, -2.0, 1.0])
    assert figures.accuracy.value == pytest.approx((1 + 0.5 + 0 + 0 + 1) / 5)
    assert (figures.accuracy.pairs, figures.accuracy.ties, figures.prompts) == (5, 1, 3)
    assert figures.by_strength["better"].value == 1.0
    assert figures.by_strength["slightly_better"].pairs == 1
    assert set(figures.by_strength) == {"better", "slightly_better"}
    assert figures.loss == pytest.approx(np.log1p(np.exp(-gaps)).mean())
    asked = np.array([1.0, 0, 0, 0, 0.5])
    assert figures.loss_with_margin == pytest.approx(np.log1p(np.exp(asked - gaps)).mean())
    assert figures.mean_chosen == pytest.approx((2 + 1 + 1 + 1 + 1) / 5)
    assert figures.mean_rejected == pytest.approx((0 + 1 + 3 + 3 + 0) / 5)
    assert figures.margin_quantiles["p50"] == 0.0
    assert figures.reward_mean == pytest.approx(8 / 7)


def test_the_mean_is_over_pairs_however_they_fall_into_batches(
    start: UntrainedRewardModel,
) -> None:
    texts = ["short", "a somewhat longer answer", "x " * 30, "y", "zz zz"]
    encoded = tuple(start.encoder.encode(Dialogue("p", text)) for text in texts)
    one = Comparison("i", "k", "p", tuple(texts), encoded, (Pair(0, 1),), (None,) * 5)
    alone = []
    for item in encoded:
        with torch.inference_mode():
            ids = torch.tensor([item.input_ids])
            alone.append(start.model.eval()(input_ids=ids).logits.item())
    for budget in (1, 70, 200, 10_000):
        (rewards,) = score_comparisons(
            start.model, [one], pad_token_id=start.pad_token_id, batch_tokens=budget
        )
        assert rewards == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (5, 10), (61, 100), (100, 100)])
def test_wilson_agrees_with_scipy(successes: int, trials: int) -> None:
    ours = wilson_interval(successes, trials)
    theirs = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_pairs_of_one_prompt_widen_the_interval_as_one_observation() -> None:
    generator = np.random.default_rng(0)
    verdicts = np.where(generator.random(40) < 0.7, 1.0, -1.0)
    single = accuracy_of(verdicts, [str(i) for i in range(40)])
    repeated = accuracy_of(np.repeat(verdicts, 9), [str(i) for i in range(40) for _ in range(9)])
    assert repeated.value == pytest.approx(single.value)
    assert repeated.bootstrap.high - repeated.bootstrap.low == pytest.approx(
        single.bootstrap.high - single.bootstrap.low, rel=1e-9
    )
    assert repeated.wilson.high - repeated.wilson.low < single.wilson.high - single.wilson.low


def test_the_bootstrap_of_independent_prompts_is_close_to_wilson() -> None:
    gap = np.where(np.arange(400) % 10 < 6, 1.0, -1.0)
    accuracy = accuracy_of(gap, [str(i) for i in range(400)])
    assert accuracy.bootstrap.low == pytest.approx(accuracy.wilson.low, abs=0.01)
    assert accuracy.bootstrap.high == pytest.approx(accuracy.wilson.high, abs=0.01)
    assert accuracy.excludes_chance
