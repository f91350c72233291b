import numpy as np
import pytest

from tests.training.evaluation.made_up_examples import example
from training.data.examples import Pair
from training.evaluation.pairs import pair_figures


def test_figures_are_those_counted_by_hand() -> None:
    examples = [
        example("a", pairs=[Pair(0, 1, 1.0, "better")]),
        example("b", ("x", "y", "z")),
        example("c", pairs=[Pair(1, 0, 0.5, "slightly_better")]),
    ]
    figures = pair_figures(examples, [(2.0, 0.0), (1.0, 1.0, 3.0), (0.0, 1.0)])
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


def test_without_a_pair_there_are_no_figures() -> None:
    assert pair_figures([example("a", ("x",))], [(1.0,)]) is None
