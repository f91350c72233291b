"""τ against brute force over every cut, and against scikit-learn's precision-recall curve."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from rm_core.rewards import Calibration, calibrate, select, sigmoid
from tests.training.calibration.made_up import drawn
from training.calibration.observations import Labels
from training.calibration.threshold import MIN_FLAGGED, find_threshold

CALIBRATION = Calibration(2.0, -0.5)


def labels(rewards: list[float], is_safe: list[bool], prompt: list[int] | None = None) -> Labels:
    numbers = range(len(rewards)) if prompt is None else prompt
    return Labels(np.array(rewards, dtype=float), np.array(is_safe), np.array(list(numbers)))


def by_brute_force(data: Labels, target: float) -> tuple[float, float, int] | None:
    """Precision, recall and number flagged of the largest cut that reaches the target."""
    best = None
    for limit in sorted(set(data.reward.tolist()))[1:]:
        flagged = [not safe for r, safe in zip(data.reward, data.is_safe, strict=True) if r < limit]
        if len(flagged) >= MIN_FLAGGED and sum(flagged) / len(flagged) >= target:
            best = sum(flagged) / len(flagged), sum(flagged) / data.num_unsafe, len(flagged)
    return best


@given(
    rows=st.lists(
        st.tuples(st.integers(min_value=-8, max_value=8), st.booleans()), min_size=40, max_size=120
    ),
    target=st.sampled_from([0.5, 0.7, 0.89, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_the_threshold_is_the_best_of_all_by_brute_force(
    rows: list[tuple[int, bool]], target: float
) -> None:
    data = labels([float(r) + 3 * safe for r, safe in rows], [safe for _, safe in rows])

    found = find_threshold(data, CALIBRATION, target_precision=target)

    if min(data.num_safe, data.num_unsafe) < 20:
        assert "too few" in found.reason
        return
    best = by_brute_force(data, target)
    assert (found.point is None) == (best is None)
    if found.point is not None and best is not None:
        assert (found.point.precision, found.point.recall, found.point.flagged) == best


def test_the_curve_agrees_with_scikit_learns() -> None:
    data = drawn(prompts=80).labels

    found = find_threshold(data, Calibration())

    precision, recall, scores = precision_recall_curve(~data.is_safe, -data.reward)
    # theirs flags −r ≥ threshold, from all flagged down to the first; ours never flags all
    np.testing.assert_allclose(found.curve["precision"], precision[1:-1][::-1])
    np.testing.assert_allclose(found.curve["recall"], recall[1:-1][::-1])
    between = sigmoid((-scores[1:] - scores[:-1]) / 2)[::-1]
    np.testing.assert_allclose(found.curve["score"], between)


def test_the_service_flags_with_tau_exactly_what_the_figures_say() -> None:
    data = drawn(prompts=150).labels

    found = find_threshold(data, CALIBRATION, target_precision=0.8)

    served = calibrate(data.reward, CALIBRATION)
    flagged = select(
        served, np.zeros(len(served)), [False] * len(served), tau=found.threshold.tau
    ).use_safety
    assert int(flagged.sum()) == found.point.flagged
    assert (~data.is_safe)[flagged].mean() == found.point.precision
    assert ((data.reward < found.point.raw) == flagged).all()  # the same on the raw scale


def test_the_papers_threshold_stands_beside_it_on_both_scales() -> None:
    data = drawn(prompts=150).labels
    served = calibrate(data.reward, CALIBRATION)

    found = find_threshold(data, CALIBRATION)

    on_score, on_raw = sigmoid(served) < 0.15, sigmoid(data.reward) < 0.15
    assert found.papers_score.score == pytest.approx(0.15)
    assert found.papers_score.flagged == on_score.sum()
    assert found.papers_score.precision == (~data.is_safe)[on_score].mean()
    assert found.papers_raw.raw == pytest.approx(-1.7346010553881064)
    assert found.papers_raw.flagged == on_raw.sum()
    assert found.papers_raw.recall == (~data.is_safe & on_raw).sum() / data.num_unsafe


def test_a_target_out_of_reach_gives_no_threshold_and_says_so() -> None:
    """Safe and unsafe responses have the same rewards: no cut is better than one in two."""
    rewards = np.repeat(np.linspace(-2, 2, 100), 2).tolist()

    found = find_threshold(labels(rewards, [True, False] * 100), CALIBRATION)

    assert (found.threshold, found.point, found.tau_interval) == (None, None, None)
    assert "0.89" in found.reason
    assert "the best has 0.5" in found.reason
    assert found.papers_score is not None  # the comparison stands all the same
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (labels([1.0] * 60, [True] * 60), "60 safe and 0 unsafe"),
        (labels([1.0] * 60, [True, False] * 30), "same reward"),
        (labels([], []), "0 safe and 0 unsafe"),
        (labels([900.0] * 40 + [1000.0] * 40, [False] * 40 + [True] * 40), "last digit"),
        # The nine lowest are unsafe, then it is a coin's throw: 9 of 9 must not count.
        (
            labels(
                [-9.0] * 9 + [0.0, 1.0] * 50,
                [False] * 9 + [True, False, False, True] * 25,
            ),
            "no threshold that flags at least 10",
        ),
    ],
    ids=["one class", "constant", "none", "saturated", "a lucky handful"],
)
def test_data_that_tell_nothing_give_no_threshold(data: Labels, reason: str) -> None:
    found = find_threshold(data, CALIBRATION)

    assert found.threshold is None
    assert reason in found.reason
    json.dumps(found.to_json(), allow_nan=False)


def test_intervals_hold_the_figures_and_narrow_with_more_data() -> None:
    few = find_threshold(drawn(prompts=100, spread=5).labels, CALIBRATION)
    many = find_threshold(drawn(prompts=1600, spread=5).labels, CALIBRATION)

    widths = []
    for found in (few, many):
        low, high = found.tau_interval
        assert low <= found.point.score <= high
        low, high = found.point.precision_interval
        assert low <= found.point.precision <= high
        widths.append(high - low)
    # sixteen times the data: a quarter of the width, give or take
    assert 0.1 < widths[1] / widths[0] < 0.5


def test_a_perfect_threshold_is_no_surer_than_its_prompts_are_many() -> None:
    """Unsafe responses of five prompts, four each."""
    unsafe = [-5.0 - index / 100 for index in range(20)]
    safe = [5.0 + index / 100 for index in range(40)]
    prompts = [index // 4 for index in range(20)] + list(range(100, 140))

    data = labels(unsafe + safe, [False] * 20 + [True] * 40, prompts)
    point = find_threshold(data, Calibration(), target_precision=1.0).point

    assert point is not None
    assert (point.precision, point.recall) == (1.0, 1.0)
    for low, high in (point.precision_interval, point.recall_interval):
        assert (low, high) == (pytest.approx(5 / (5 + 1.96**2), abs=1e-4), 1.0)


def test_copies_of_a_prompts_responses_add_no_certainty() -> None:
    once = drawn(prompts=100, spread=5).labels
    copied = Labels(*(np.repeat(part, 10) for part in once))

    one, ten = find_threshold(once, CALIBRATION), find_threshold(copied, CALIBRATION)

    assert one.papers_score.precision_interval == ten.papers_score.precision_interval
    assert one.tau_interval == ten.tau_interval
    assert one.tau_interval is not None


def test_crossfitted_figures_don_t_know_their_own_prompts() -> None:
    """Over many draws τ's own labels flatter its precision; other prompts' labels don't."""
    own, others = [], []
    for seed in range(30):
        found = find_threshold(drawn(prompts=60, seed=seed).labels, CALIBRATION)
        if found.point is not None and found.crossfitted is not None:
            own.append(found.point.precision)
            others.append(found.crossfitted[0] or 0.0)

    assert len(own) > 15
    assert min(own) >= 0.89
    assert np.mean(others) < np.mean(own)


def test_tau_lies_half_way_between_the_last_reward_flagged_and_the_first_one_not() -> None:
    """Calibrated the two are (−1)/2 − 0.5 = −1 and 7/2 − 0.5 = 3: half-way is 1, raw 3."""
    data = labels([-1.0] * 40 + [7.0] * 40, [False] * 40 + [True] * 40)

    found = find_threshold(data, CALIBRATION)

    assert found.point.score == pytest.approx(sigmoid([1.0])[0])
    assert found.point.raw == pytest.approx(3.0)


def test_an_interval_holds_95_percent() -> None:
    """Of 400 responses flagged, one a prompt, 300 are unsafe: ±1.96 √(0.75 · 0.25 / 400)."""
    is_safe = [False] * 300 + [True] * 100 + [False] * 100 + [True] * 300

    found = find_threshold(labels([-3.0] * 400 + [3.0] * 400, is_safe), Calibration())

    low, high = found.papers_score.precision_interval
    assert high - low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 400) ** 0.5, rel=0.08)
