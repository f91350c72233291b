"""What holds of every objective: its gradient, its range, the shapes that it refuses."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from mpmath import mp
from torch import Tensor

from rm_core.errors import ShapeMismatch
from training.losses import (
    bradley_terry_terms,
    centering_terms,
    hinge_terms,
    kwise_terms,
    l2_terms,
    listnet_terms,
    plackett_luce_terms,
    regression_terms,
    safety_auxiliary_terms,
    step_terms,
    token_terms,
)

RANKS = torch.tensor([[2, 0, 1, 1], [0, 1, 0, 9]])
LISTED = torch.tensor([[True, True, True, True], [True, True, True, False]])
LABELS = torch.tensor([1.0, 0.0, 0.25, 1.0, 0.0, 1.0, 1.0, 0.0])
MARGINS = torch.tensor([0.0, 0.5, 1.0, 3.0])

# Each takes eight rewards: four pairs, or two lists of four of which one is filling.
OBJECTIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "bradley_terry": lambda r: bradley_terry_terms(r[:4], r[4:]),
    "margin": lambda r: bradley_terry_terms(r[:4], r[4:], MARGINS),
    "hinge": lambda r: hinge_terms(r[:4], r[4:], MARGINS),
    "kwise": lambda r: kwise_terms(r[:4], r[4:], torch.tensor([3, 1])),
    "listnet": lambda r: listnet_terms(r.view(2, 4), -RANKS, LISTED),
    "plackett_luce": lambda r: plackett_luce_terms(r.view(2, 4), RANKS, LISTED),
    "regression": lambda r: regression_terms(r, LABELS),
    "tokens": lambda r: token_terms(r[:4], r[4:], torch.tensor([1, 3]), MARGINS[:2]),
    "steps": lambda r: step_terms(r, LABELS),
    "safety": lambda r: safety_auxiliary_terms(r, LABELS.round()),
    "centering": lambda r: centering_terms(r[:4], r[4:]),
    "l2": l2_terms,
}
CASES = pytest.mark.parametrize("terms", OBJECTIVES.values(), ids=OBJECTIVES.keys())


def _softplus(x: Any) -> Any:
    return mp.log(1 + mp.exp(x))


def _cross_entropy(reward: Any, label: float) -> Any:
    return label * _softplus(-reward) + (1 - label) * _softplus(reward)


def _listnet(rewards: Sequence[Any], ranks: Sequence[int]) -> Any:
    wanted, found = [mp.exp(-rank) for rank in ranks], [mp.exp(reward) for reward in rewards]
    both = zip(wanted, found, strict=True)
    return -sum(w / mp.fsum(wanted) * mp.log(f / mp.fsum(found)) for w, f in both)


def _plackett_luce(rewards: Sequence[Any], ranks: Sequence[int]) -> Any:
    """Efron's likelihood, group by group of equal rank."""
    total = mp.mpf(0)
    for rank in set(ranks):
        tied = [r for r, own in zip(rewards, ranks, strict=True) if own == rank]
        later = mp.fsum(mp.exp(r) for r, own in zip(rewards, ranks, strict=True) if own > rank)
        weight = mp.fsum(map(mp.exp, tied))
        for place, reward in enumerate(tied):
            total += mp.log(later + (1 - mp.mpf(place) / len(tied)) * weight) - reward
    return total


def _pairs(r: Sequence[Any], margins: Sequence[float]) -> list[Any]:
    return [_softplus(m - c + j) for c, j, m in zip(r[:4], r[4:], margins, strict=True)]


def _of_lists(loss: Callable[[Any, Any], Any], r: Sequence[Any]) -> list[Any]:
    return [loss(r[:4], RANKS[0].tolist()), loss(r[4:7], RANKS[1, :3].tolist())]


NONE, ASKED = [0.0] * 4, MARGINS.tolist()
PLAINLY: dict[str, Callable[[Sequence[Any]], list[Any]]] = {
    "bradley_terry": lambda r: _pairs(r, NONE),
    "margin": lambda r: _pairs(r, ASKED),
    "hinge": lambda r: [
        max(mp.mpf(0), 1 + m - c + j) for c, j, m in zip(r[:4], r[4:], ASKED, strict=True)
    ],
    "kwise": lambda r: [mp.fsum(_pairs(r, NONE)[:3]) / 3, _pairs(r, NONE)[3]],
    "listnet": partial(_of_lists, _listnet),
    "plackett_luce": partial(_of_lists, _plackett_luce),
    "regression": lambda r: [(x - y) ** 2 for x, y in zip(r, LABELS.tolist(), strict=True)],
    "tokens": lambda r: [
        _pairs(r, ASKED[:1] * 4)[0],
        mp.fsum(_pairs(r, ASKED[1:2] * 4)[1:]) / 3,
    ],
    "steps": lambda r: [_cross_entropy(x, y) for x, y in zip(r, LABELS.tolist(), strict=True)],
    "safety": lambda r: [
        _cross_entropy(x, y) for x, y in zip(r, LABELS.round().tolist(), strict=True)
    ],
    "centering": lambda r: [(c + j) ** 2 for c, j in zip(r[:4], r[4:], strict=True)],
    "l2": lambda r: [x**2 for x in r],
}
"""The formulae as the papers write them, for numbers of any precision."""


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0, 1e4])
def test_values_are_those_of_arithmetic_of_sixty_digits(
    name: str, dtype: torch.dtype, size: float
) -> None:
    rewards = size * torch.randn(8, dtype=dtype, generator=torch.Generator().manual_seed(5))

    found = OBJECTIVES[name](rewards)

    with mp.workdps(60):
        exact = [float(x) for x in PLAINLY[name]([mp.mpf(float(r)) for r in rewards])]
    assert found.dtype == dtype
    tolerance = 8 * torch.finfo(dtype).eps
    for own, wanted in zip(found.tolist(), exact, strict=True):
        assert own == pytest.approx(wanted, rel=tolerance, abs=tolerance * max(1.0, size))


@CASES
def test_gradients_agree_with_finite_differences(terms: Callable[[Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(8, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(terms, (rewards,))


@CASES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_rewards_stay_finite_in_loss_and_gradient(
    terms: Callable[[Tensor], Tensor], dtype: torch.dtype, size: float
) -> None:
    signs = torch.tensor([1, -1, 1, 0, -1, 1, 1, -1])
    rewards = (size * signs).to(dtype).requires_grad_()
    loss = terms(rewards)
    loss.sum().backward()
    assert rewards.grad is not None
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss).all()
    assert torch.isfinite(rewards.grad).all()


@CASES
def test_no_loss_is_negative(terms: Callable[[Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        assert (terms(5 * torch.randn(8, generator=generator)) >= 0).all()


FLAT, COLUMN, SHORT = torch.zeros(4), torch.zeros(4, 1), torch.zeros(1)
LISTS, LISTED_ALL = torch.zeros(4, 2), torch.ones(4, 2, dtype=torch.bool)
ONE_EACH = torch.ones(4, dtype=torch.long)
HOSTILE: dict[str, Callable[[], Tensor]] = {
    "bradley_terry (n,) (n, 1)": lambda: bradley_terry_terms(FLAT, COLUMN),
    "bradley_terry (n, 1) (n,)": lambda: bradley_terry_terms(COLUMN, FLAT),
    "bradley_terry (n, 1) twice": lambda: bradley_terry_terms(COLUMN, COLUMN),
    "margin (n, 1)": lambda: bradley_terry_terms(FLAT, FLAT, COLUMN),
    "margin (1,)": lambda: bradley_terry_terms(FLAT, FLAT, SHORT),
    "hinge": lambda: hinge_terms(FLAT, COLUMN),
    "hinge's margin": lambda: hinge_terms(FLAT, FLAT, COLUMN),
    "kwise": lambda: kwise_terms(FLAT, COLUMN, ONE_EACH),
    "kwise's counts": lambda: kwise_terms(FLAT, FLAT, ONE_EACH[:3]),
    "kwise's counts (n, 1)": lambda: kwise_terms(FLAT, FLAT, ONE_EACH[:, None]),
    "listnet's relevance": lambda: listnet_terms(LISTS, FLAT, LISTED_ALL),
    "listnet's mask": lambda: listnet_terms(LISTS, LISTS, LISTED_ALL[:1]),
    "listnet of a vector": lambda: listnet_terms(FLAT, FLAT, FLAT > 0),
    "plackett_luce's ranks": lambda: plackett_luce_terms(LISTS, COLUMN, LISTED_ALL),
    "plackett_luce's mask": lambda: plackett_luce_terms(LISTS, LISTS, LISTED_ALL[:, :1]),
    "regression": lambda: regression_terms(FLAT, COLUMN),
    "tokens": lambda: token_terms(FLAT, COLUMN, ONE_EACH),
    "tokens' counts": lambda: token_terms(FLAT, FLAT, 2 * ONE_EACH),
    "tokens' margin": lambda: token_terms(FLAT, FLAT, ONE_EACH, COLUMN),
    "steps": lambda: step_terms(FLAT, COLUMN),
    "safety": lambda: safety_auxiliary_terms(COLUMN, FLAT),
    "centering": lambda: centering_terms(FLAT, COLUMN),
    "l2": lambda: l2_terms(COLUMN),
}


@pytest.mark.parametrize("terms", HOSTILE.values(), ids=HOSTILE.keys())
def test_shapes_that_would_broadcast_are_refused(terms: Callable[[], Tensor]) -> None:
    with pytest.raises(ShapeMismatch):
        terms()
