import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError, ShapeMismatch
from rm_core.rewards import DEFAULT_TAU, select, sigmoid

mpmath.mp.dps = 50

LOGIT_TAU = -1.7346010553881064  # ln(0.15 / 0.85) = -1.73460105538810643...
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "reward", [LOGIT_TAU, math.log(0.15 / 0.85), math.log(0.15) - math.log(0.85)]
)
def test_a_score_of_exactly_tau_is_not_below_it(reward: float) -> None:
    assert sigmoid([reward])[0] == 0.15

    assert select([reward], [7.0], [False]).logit.tolist() == [7.0]


def test_the_first_score_below_tau_belongs_to_safety() -> None:
    reward = LOGIT_TAU
    while sigmoid([reward])[0] >= 0.15:
        reward = math.nextafter(reward, -math.inf)

    assert LOGIT_TAU - reward < 1e-14
    assert select([reward], [7.0], [False]).logit.tolist() == [reward]


def test_the_threshold_is_on_the_score_and_not_on_the_reward() -> None:
    # a raw reward of 0.1 is below 0.15, its score 0.525 is not
    assert select([0.1], [7.0], [False]).use_safety.tolist() == [False]


@given(
    st.floats(min_value=0.001, max_value=0.999),
    st.floats(min_value=-12, max_value=12, allow_subnormal=False),
)
def test_the_choice_is_the_exact_one_except_within_rounding_of_tau(tau: float, r: float) -> None:
    exact = mpmath.log(mpmath.mpf(tau) / (1 - mpmath.mpf(tau)))
    if abs(r - exact) < 1e-12:
        return

    assert bool(select([r], [0.0], [False], tau=tau).use_safety[0]) == (mpmath.mpf(r) < exact)


@given(st.floats(min_value=0.01, max_value=0.99))
def test_the_rule_is_strict_at_any_tau(tau: float) -> None:
    at_tau = float(np.log(tau) - np.log1p(-tau))

    assert not select([at_tau], [0.0], [False], tau=tau).use_safety[0]
    just_below = math.nextafter(at_tau, -math.inf)
    if sigmoid([just_below])[0] == tau:  # the score is what is compared
        assert not select([just_below], [0.0], [False], tau=tau).use_safety[0]


def test_a_safety_prompt_takes_the_safety_reward_whatever_its_score() -> None:
    selection = select([5.0, 5.0], [-3.0, -3.0], [True, False])

    assert selection.use_safety.tolist() == [True, False]
    assert selection.logit.tolist() == [5.0, -3.0]


@pytest.mark.parametrize("reward", [-1e4, -40.0, 40.0, 1e4])
def test_the_logit_is_the_reward_itself_where_the_score_saturates(reward: float) -> None:
    assert select([reward], [reward], [True]).logit.tolist() == [reward]
    assert select([reward], [reward], [False]).logit.tolist() == [reward]


def test_with_one_model_the_rule_is_that_model() -> None:
    only_safety = select([3.0, -9.0], None, [False, False])
    only_helpfulness = select(None, [3.0, -9.0], [True, False])

    assert only_safety.use_safety.tolist() == [True, True]
    assert only_safety.logit.tolist() == [3.0, -9.0]
    assert only_helpfulness.use_safety.tolist() == [False, False]
    assert only_helpfulness.logit.tolist() == [3.0, -9.0]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nothing_stands_in_for_a_safety_reward_that_is_not_finite(bad: float) -> None:
    assert math.isnan(select([bad], [1.0], [False]).logit[0])
    assert math.isnan(select([bad], [1.0], [True]).logit[0])
    assert math.isnan(select([bad], None, [False]).logit[0])


def test_a_bad_helpfulness_reward_matters_only_where_it_is_selected() -> None:
    logits = select([5.0, -5.0, 5.0], [NAN, NAN, NAN], [True, False, False]).logit

    assert logits[:2].tolist() == [5.0, -5.0]
    assert math.isnan(logits[2])


@pytest.mark.parametrize("tau", [0.0, 1.0, -1.0, NAN])
def test_tau_is_a_score(tau: float) -> None:
    with pytest.raises(InputError) as caught:
        select([0.0], [0.0], [False], tau=tau)

    assert caught.value.field == "tau"


def test_no_model_at_all_is_an_error() -> None:
    with pytest.raises(InputError):
        select(None, None, [True])


@pytest.mark.parametrize(
    ("safety", "helpfulness", "tags", "field"),
    [
        ([1.0, 2.0], [1.0], [True, True], "helpfulness"),
        ([1.0, 2.0], [1.0, 2.0], [True], "is_safety"),
        (None, [1.0, 2.0], [True], "is_safety"),
    ],
)
def test_unequal_lengths_name_the_field(safety, helpfulness, tags, field) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ShapeMismatch) as caught:
        select(safety, helpfulness, tags)

    assert caught.value.field == field


def test_the_default_tau_is_the_papers() -> None:
    assert DEFAULT_TAU == 0.15
