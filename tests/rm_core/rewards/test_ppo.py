import math
from collections.abc import Hashable
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError, ShapeMismatch
from rm_core.rewards import Statistics, TokenKL, statistics_of, token_kl
from rm_core.rewards.ppo import (
    KlInput,
    PpoSample,
    ShapingOptions,
    has_finite_logit,
    new_samples,
    sequence_kl,
    shape_samples,
)
from rm_core.rewards.rule import ScoredItem, ScoredResponse


def sample(
    logit: float,
    index: int = 0,
    *,
    kl: TokenKL | None = None,
    finished: bool | None = None,
    id: str | int | None = None,  # noqa: A002
    group: Hashable = "g",
    text: bytes | None = None,
) -> PpoSample:
    scored_response = ScoredResponse(
        ScoredItem({"helpfulness": logit}, 3),
        {"helpfulness": logit},
        {"helpfulness": 0.5},
        "helpfulness",
        logit,
    )
    return PpoSample(index, scored_response, kl, finished, id, group, text)


def options(**given: Any) -> ShapingOptions:
    return ShapingOptions(**given)


def test_an_id_counts_once_in_a_request_and_once_in_its_stream() -> None:
    samples = [
        sample(1.0, 0, id="x"),
        sample(9.0, 1, id="x"),
        sample(2.0, 2),
        sample(9.0, 3, id="known"),
        sample(3.0, 4, id=7),
        sample(9.0, 5, id="7"),
    ]

    taken = new_samples(samples, {"known": None})

    assert taken.statistics == statistics_of([1.0, 2.0, 3.0])
    assert taken.num_samples == 3
    assert list(taken.new_items) == ["x", "7"]
    assert taken.duplicates == {1, 3, 5}


def test_an_id_with_another_text_adds_nothing_and_is_told_apart() -> None:
    samples = [
        sample(1.0, 0, id="x", text=b"one"),
        sample(9.0, 1, id="x", text=b"two"),
        sample(9.0, 2, id="x", text=b"one"),
        sample(9.0, 3, id="known", text=b"two"),
        sample(9.0, 4, id="unknown text", text=b"any"),
        sample(9.0, 5, id="x"),
    ]

    taken = new_samples(samples, {"known": b"one", "unknown text": None})

    assert taken.new_items == {"x": b"one"}
    assert taken.duplicates == {2, 4, 5}
    assert taken.conflicts == {1, 3}
    assert taken.num_samples == 1


def test_running_and_frozen_whiten_by_the_streams_statistics() -> None:
    statistics = Statistics(101.0, 2.0, 400.0)  # std 2
    for mode in ("running", "frozen"):
        shaping = shape_samples([sample(4.0)], options(mode=mode), statistics)
        assert shaping.outcomes[0].whitened == pytest.approx(1.0)
        assert shaping.statistics == statistics


def test_batch_whitens_by_this_request_alone() -> None:
    shaping = shape_samples(
        [sample(1.0, 0), sample(3.0, 1)],
        options(mode="batch"),
        Statistics(100.0, 50.0, 1.0),
    )

    assert [outcome.whitened for outcome in shaping.outcomes] == pytest.approx(
        [-(0.5**0.5), 0.5**0.5]
    )
    assert shaping.statistics == statistics_of([1.0, 3.0])


def test_group_whitens_each_group_alone_and_lists_them() -> None:
    samples = [sample(1.0, 0, group="a"), sample(9.0, 2, group="b"), sample(3.0, 5, group="a")]

    shaping = shape_samples(samples, options(mode="group"), Statistics())

    assert [outcome.whitened for outcome in shaping.outcomes] == pytest.approx(
        [-(0.5**0.5), 0.0, 0.5**0.5]
    )
    assert [(g.group, g.indices) for g in shaping.groups] == [("a", (0, 5)), ("b", (2,))]
    assert ["unscaled" in outcome.warnings for outcome in shaping.outcomes] == [False, True, False]
    assert not shaping.scaled


def test_none_passes_the_logit_without_a_warning() -> None:
    shaping = shape_samples([sample(40.0)], options(mode="none"), Statistics())

    assert shaping.outcomes[0].whitened == 40.0
    assert "unscaled" not in shaping.outcomes[0].warnings


def test_before_two_values_the_logit_passes_and_says_so() -> None:
    shaping = shape_samples([sample(5.0)], options(), statistics_of([5.0]))

    assert shaping.outcomes[0].whitened == 5.0
    assert "unscaled" in shaping.outcomes[0].warnings
    assert not shaping.scaled


def test_the_penalty_is_the_papers() -> None:
    kl = token_kl([-1.0, -1.0], [-2.0, -1.5])

    (outcome,) = shape_samples(
        [sample(3.0, kl=kl)], options(beta=0.1, mode="none"), Statistics()
    ).outcomes

    assert outcome.shaped.penalty == pytest.approx(0.15)
    assert outcome.shaped.reward == pytest.approx(2.85)
    assert outcome.shaped.token_rewards == pytest.approx([-0.1, 2.95])


@pytest.mark.parametrize(("finished", "lost"), [(False, 1.5), (True, 0.0), (None, 0.0)])
def test_only_an_unfinished_response_pays_for_its_missing_eos(
    finished: bool | None, lost: float
) -> None:
    (outcome,) = shape_samples(
        [sample(3.0, finished=finished)],
        options(missing_eos_penalty=1.5, mode="none"),
        Statistics(),
    ).outcomes

    assert outcome.shaped.missing_eos_penalty == lost
    assert outcome.shaped.reward == 3.0 - lost
    assert outcome.warnings == ("no_logprobs",)


def test_tokens_whose_estimate_was_bounded_are_reported_and_counted() -> None:
    given = KlInput([-2000.0, -1.0, -300.0], [0.0, -1.0, 0.0])
    clipped, clamped = (sequence_kl(given, "k3", clip=clip) for clip in (10.0, None))

    shaping = shape_samples(
        [sample(0.0, 0, kl=clipped), sample(0.0, 1, kl=clamped), sample(0.0, 2)],
        options(mode="none"),
        Statistics(),
    )

    assert [outcome.warnings for outcome in shaping.outcomes] == [
        ("kl_clipped",),
        ("kl_clamped",),
        ("no_logprobs",),
    ]
    assert shaping.num_kl_clipped == 2
    assert clipped.total == 20.0


def test_a_sequences_kl_is_clipped_as_the_papers_trainers_do_unless_told_otherwise() -> None:
    assert sequence_kl(KlInput([-1.0], [-99.0]), "k1").total == 10.0
    assert sequence_kl(KlInput([-1.0], [-99.0]), "k1", clip=20.0).total == 20.0


def test_the_whitened_reward_is_clipped_before_its_penalties_and_that_is_reported() -> None:
    kl = token_kl([-1.0, -1.0], [-2.0, -2.0])
    samples = [sample(12.0, 0, kl=kl, finished=False), sample(-12.0, 1, kl=kl), sample(4.0, 2)]

    shaping = shape_samples(
        samples,
        options(mode="none", reward_clip="openrlhf", beta=0.5, missing_eos_penalty=3.0),
        Statistics(),
    )

    assert [outcome.whitened for outcome in shaping.outcomes] == [10.0, -10.0, 4.0]
    assert [outcome.shaped.reward for outcome in shaping.outcomes] == [6.0, -11.0, 4.0]
    assert [outcome.is_clipped for outcome in shaping.outcomes] == [True, True, False]
    assert ["reward_clipped" in outcome.warnings for outcome in shaping.outcomes] == [
        True,
        True,
        False,
    ]
    assert shaping.num_reward_clipped == 2


def test_without_a_clip_a_reward_passes_as_it_is() -> None:
    (outcome,) = shape_samples([sample(1e4)], options(mode="none"), Statistics()).outcomes

    assert (outcome.whitened, outcome.is_clipped) == (1e4, False)


@pytest.mark.parametrize("mode", ["running", "frozen", "batch", "group", "none"])
def test_every_reward_is_finite_in_float32_and_what_was_bounded_for_it_says_so(mode: str) -> None:
    """A logit that only float64 holds, on statistics that make it larger still."""
    kl = token_kl([-1.7e308, -1.0], [1.7e308, -1.0], estimator="k3", clip=None)
    samples = [sample(logit, index, kl=kl) for index, logit in enumerate((1e60, -1e60, 1e60))]

    outcomes = shape_samples(
        samples, options(mode=mode, beta=1e6, shift_mean=False), Statistics(9.0, 0.0, 0.0)
    ).outcomes

    for outcome in outcomes:
        assert outcome.shaped.token_rewards is not None
        rewards = np.array(
            [outcome.whitened, outcome.shaped.reward, *outcome.shaped.token_rewards], np.float32
        )
        assert np.isfinite(rewards).all()
        assert ("reward_clipped" in outcome.warnings) == outcome.is_clipped
        assert outcome.is_clipped


def test_samples_of_a_request_age_by_those_that_follow_and_count_in_order() -> None:
    samples = [sample(8.0, 0, id="a"), sample(1.0, 1, id="a"), sample(2.0, 2), sample(6.0, 3)]

    taken = new_samples(samples, {}, half_life=1.0)

    # 8, 2, 6 weigh 1/4, 1/2, 1; the duplicate neither counts nor ages them
    assert taken.statistics.count == 1.75
    assert taken.statistics.mean == pytest.approx((2.0 + 1.0 + 6.0) / 1.75)
    assert taken.num_samples == 3


@given(
    st.lists(st.floats(min_value=-1e4, max_value=1e4), min_size=1, max_size=20),
    st.sampled_from(["running", "frozen", "batch", "group", "none"]),
    st.booleans(),
)
def test_every_mode_is_finite_keeps_the_order_and_puts_the_mean_where_it_is_told(
    logits: list[float], mode: str, shift_mean: bool
) -> None:
    samples = [sample(logit, index) for index, logit in enumerate(logits)]
    request = options(mode=mode, shift_mean=shift_mean)

    outcomes = shape_samples(samples, request, statistics_of(logits)).outcomes

    whitened = [outcome.whitened for outcome in outcomes]
    assert all(math.isfinite(value) for value in whitened)
    for i, a in enumerate(logits):
        for j, b in enumerate(logits):
            if a < b:
                assert whitened[i] <= whitened[j]
    if mode != "none" and len(logits) > 1:
        mean = 0.0 if shift_mean else fmean(logits)
        assert fmean(whitened) == pytest.approx(mean, abs=1e-6)


def test_log_probabilities_of_unequal_length_name_the_field() -> None:
    with pytest.raises(ShapeMismatch) as caught:
        sequence_kl(KlInput(logprobs=[-1.0, -2.0], ref_logprobs=[-1.0]), "k1")

    assert caught.value.field == "ref_logprobs"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"logprobs": [], "ref_logprobs": []}, "logprobs"),
        ({"logprobs": [-1.0], "ref_logprobs": [-1.0], "mask": [0]}, "mask"),
    ],
)
def test_a_sequence_where_nothing_counts_is_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        sequence_kl(KlInput(**given), "k1")

    assert caught.value.field == field


def test_the_mask_takes_booleans_and_bits() -> None:
    given = {"logprobs": [-1.0, -1.0], "ref_logprobs": [-2.0, -3.0]}
    as_bits = sequence_kl(KlInput(**given, mask=[1, 0]), "k1")
    as_booleans = sequence_kl(KlInput(**given, mask=[True, False]), "k1")

    assert as_bits.total == as_booleans.total == 1.0


def test_a_reward_beyond_the_statistics_has_no_finite_logit() -> None:
    assert has_finite_logit(sample(-40.0).scored_response)
    assert not has_finite_logit(sample(math.inf).scored_response)
    assert not has_finite_logit(sample(math.nan).scored_response)
    assert not has_finite_logit(sample(1e200).scored_response)
