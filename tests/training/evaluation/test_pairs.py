import math

import numpy as np
import pytest

from training.data.examples import Comparison, Pair
from training.evaluation import evaluate


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
