import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError, ShapeMismatch
from rm_core.rewards import KLEstimator, token_kl

mpmath.mp.dps = 60

RATIOS = st.floats(min_value=-500, max_value=500)
EXACT_RATIOS = st.floats(min_value=-20, max_value=500)  # below, k3's exponent is bounded
TINY = st.floats(min_value=-0.05, max_value=0.05)


def one(d: float, estimator: KLEstimator) -> float:
    return float(token_kl([d], [0.0], estimator=estimator, clip=None).values[0])


@given((EXACT_RATIOS | TINY).filter(lambda d: d == 0.0 or abs(d) > 1e-20))
def test_k3_equals_exact_arithmetic(d: float) -> None:
    exact = mpmath.expm1(-mpmath.mpf(d)) + mpmath.mpf(d)

    assert one(d, "k3") == pytest.approx(float(exact), rel=1e-13, abs=1e-300)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_k3_is_never_negative_and_always_finite(d: float) -> None:
    assert 0.0 <= one(d, "k3") < math.inf


@given(RATIOS)
def test_k1_and_k2_are_the_log_ratio_and_half_its_square(d: float) -> None:
    assert one(d, "k1") == d
    assert one(d, "k2") == d * d / 2.0


def test_the_estimators_by_hand() -> None:
    # d = −0.5 − (−1) = 0.5: k2 = 0.125, k3 = e^−0.5 − 1 + 0.5 = 0.10653065971263342
    assert token_kl([-0.5], [-1.0], estimator="k1").total == 0.5
    assert token_kl([-0.5], [-1.0], estimator="k2").total == 0.125
    assert token_kl([-0.5], [-1.0], estimator="k3").total == pytest.approx(0.10653065971263342)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_estimate_the_divergence_of_policy_from_reference(estimator: KLEstimator) -> None:
    # the exact expectation over the policy's own distribution, not the reverse divergence
    policy, reference = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    forward = float((policy * np.log(policy / reference)).sum())
    backward = float((reference * np.log(reference / policy)).sum())

    per_token = token_kl(np.log(policy), np.log(reference), estimator=estimator).values

    assert (policy * per_token).sum() == pytest.approx(forward, rel=1e-12)
    assert abs(forward - backward) > 0.05


def test_equal_policies_have_no_divergence() -> None:
    for estimator in ("k1", "k2", "k3"):
        assert token_kl([-1.0, -9.0], [-1.0, -9.0], estimator=estimator).values.tolist() == [0, 0]


def test_masked_tokens_count_nothing_even_if_they_are_not_numbers() -> None:
    masked = token_kl(
        [-1.0, math.nan, -2.0, math.inf],
        [-1.5, -1.0, -1.0, math.nan],
        mask=[True, False, True, False],
    )

    assert masked.values.tolist() == [0.5, 0.0, -1.0, 0.0]
    assert masked.total == -0.5
    assert masked.num_clamped == 0


def test_without_a_clip_the_exponent_is_bounded_and_counted() -> None:
    clamped = token_kl(
        [-2000.0, -20.0, -1.0, -1.0], [0.0, 0.0, -1.0, -2000.0], estimator="k3", clip=None
    )

    bound = math.expm1(20.0) - 20.0
    assert clamped.values[:2].tolist() == pytest.approx([bound, bound], rel=1e-15)
    assert (clamped.num_clamped, clamped.num_clipped) == (1, 0)
    assert clamped.values[3] == pytest.approx(1998.0)  # the other direction is linear


@pytest.mark.parametrize(
    ("estimator", "expected", "num_clipped"),
    [("k1", [-10.0, -5.0, 10.0], 2), ("k2", [10.0, 10.0, 10.0], 3), ("k3", [10.0, 10.0, 10.0], 3)],
)
def test_by_default_a_tokens_estimate_lies_within_ten_nats_and_those_bounded_are_counted(
    estimator: KLEstimator, expected: list[float], num_clipped: int
) -> None:
    clipped = token_kl(
        [-300.0, -5.0, 0.0, 9.0], [0.0, 0.0, -12.0, 0.0], estimator=estimator, mask=[1, 1, 1, 0]
    )

    assert clipped.values.tolist() == [*expected, 0.0]
    assert (clipped.num_clipped, clipped.num_clamped) == (num_clipped, 0)


def test_an_estimate_on_the_bound_is_not_clipped() -> None:
    assert token_kl([-2.0, 2.0], [0.0, 0.0], clip=2.0).num_clipped == 0
    assert token_kl([-2.5, 2.5], [0.0, 0.0], clip=2.0).values.tolist() == [-2.0, 2.0]


@given(
    st.floats(min_value=-1.7e308, max_value=1.7e308),
    st.floats(min_value=-1.7e308, max_value=1.7e308),
    st.sampled_from(["k1", "k2", "k3"]),
    st.sampled_from([None, 10.0, 1e6]),
)
def test_a_million_tokens_at_the_largest_beta_are_finite_in_float32(
    policy: float, reference: float, estimator: KLEstimator, clip: float | None
) -> None:
    value = token_kl([policy], [reference], estimator=estimator, clip=clip).values[0]

    assert np.isfinite(np.float32(1e6 * 1e6 * value))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_log_probabilities_at_the_end_of_the_doubles_are_clamped(estimator: KLEstimator) -> None:
    extreme = token_kl([1.7e308, -1.7e308], [-1.7e308, 1.7e308], estimator=estimator, clip=None)

    assert math.isfinite(extreme.total)
    assert extreme.num_clamped == 2


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_is_a_finite_number_above_zero(clip: float) -> None:
    with pytest.raises(InputError) as caught:
        token_kl([-1.0], [-1.0], clip=clip)

    assert caught.value.field == "kl_clip"


@pytest.mark.parametrize(
    ("ref", "mask", "field"),
    [([-1.0], None, "ref_logprobs"), ([-1.0, -1.0], [True], "mask")],
)
def test_unequal_lengths_name_the_field(
    ref: list[float], mask: list[bool] | None, field: str
) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        token_kl([-1.0, -2.0], ref, mask=mask)

    assert caught.value.field == field


@pytest.mark.parametrize("field", ["logprobs", "ref_logprobs"])
def test_an_unmasked_value_that_is_not_finite_is_refused(field: str) -> None:
    given = {"logprobs": [-1.0], "ref_logprobs": [-1.0], field: [math.nan]}

    with pytest.raises(InputError) as caught:
        token_kl(**given)  # type: ignore[arg-type]

    assert caught.value.field == field


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        token_kl([-1.0], [-1.0], estimator="k4")  # type: ignore[arg-type]

    assert caught.value.field == "kl_estimator"
