import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError, ShapeMismatch
from rm_core.rewards import Calibration, calibrate, raw_at_score, sigmoid

mpmath.mp.dps = 50


@given(st.floats(min_value=-700, max_value=700))
def test_sigmoid_equals_the_exact_one(x: float) -> None:
    exact = 1 / (1 + mpmath.exp(-mpmath.mpf(x)))

    assert sigmoid([x])[0] == pytest.approx(float(exact), rel=4e-16)


@pytest.mark.parametrize("x", [-1e308, -1e4, -40.0, 0.0, 40.0, 1e4, 1e308])
def test_sigmoid_stays_in_the_unit_interval_without_warnings(x: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        assert 0.0 <= sigmoid([x])[0] <= 1.0


def test_calibration_divides_first_and_then_adds() -> None:
    assert calibrate([3.0, -1.0], Calibration(2.0, 0.25)).tolist() == [1.75, -0.25]


def test_calibration_is_the_identity_by_default() -> None:
    assert calibrate([3.5, -40.0], Calibration()).tolist() == [3.5, -40.0]


@pytest.mark.parametrize(
    ("calibration", "field"),
    [
        (Calibration(temperature=0.0), "temperature"),
        (Calibration(temperature=-1.0), "temperature"),
        (Calibration(temperature=float("nan")), "temperature"),
        (Calibration(bias=float("inf")), "bias"),
    ],
)
def test_calibration_refuses_constants_out_of_range(calibration: Calibration, field: str) -> None:
    with pytest.raises(InputError) as caught:
        calibrate([1.0], calibration)

    assert caught.value.field == field


def test_a_table_of_rewards_is_no_list_of_rewards() -> None:
    with pytest.raises(ShapeMismatch) as caught:
        calibrate(np.zeros((2, 2)), Calibration())

    assert caught.value.field == "reward"


@given(
    score=st.floats(min_value=1e-6, max_value=1 - 1e-6),
    temperature=st.floats(min_value=0.01, max_value=100),
    bias=st.floats(min_value=-50, max_value=50),
)
def test_the_raw_threshold_is_where_the_calibrated_score_is_the_threshold(
    score: float, temperature: float, bias: float
) -> None:
    calibration = Calibration(temperature, bias)

    raw = raw_at_score(score, calibration)

    assert sigmoid(calibrate([raw], calibration))[0] == pytest.approx(score, rel=1e-9)


def test_the_papers_threshold_on_the_raw_scale() -> None:
    """Ln(0.15/0.85) = −1.734601…, worked out by hand."""
    assert raw_at_score(0.15, Calibration()) == pytest.approx(-1.7346010553881064, abs=1e-12)
    with pytest.raises(InputError):
        raw_at_score(1.0, Calibration())
