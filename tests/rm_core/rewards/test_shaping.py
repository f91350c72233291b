import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import InputError
from rm_core.rewards import KLEstimator, shape, token_kl

LOGPROBS = st.floats(min_value=-40, max_value=0)


def test_the_shaped_reward_by_hand() -> None:
    # KL_t = [0.5, −0.25, 1]; β = 0.1: t = −β·KL_t, the last one also gets 2
    kl = token_kl([-0.5, -1.25, -1.0], [-1.0, -1.0, -2.0])

    shaped = shape(2.0, kl, beta=0.1)

    assert shaped.token_rewards == pytest.approx([-0.05, 0.025, 1.9])
    assert shaped.kl == pytest.approx(1.25)
    assert shaped.penalty == pytest.approx(0.125)
    assert shaped.reward == pytest.approx(1.875)


@given(
    st.floats(min_value=-100, max_value=100),
    st.lists(st.tuples(LOGPROBS, LOGPROBS, st.booleans()), min_size=1, max_size=50),
    st.sampled_from(["k1", "k2", "k3"]),
    st.floats(min_value=0, max_value=1),
    st.floats(min_value=0, max_value=5),
)
def test_token_rewards_sum_to_the_sequences_reward(
    whitened: float,
    tokens: list[tuple[float, float, bool]],
    estimator: KLEstimator,
    beta: float,
    missing: float,
) -> None:
    mask = [counts for *_, counts in tokens[:-1]] + [True]
    kl = token_kl([t[0] for t in tokens], [t[1] for t in tokens], estimator=estimator, mask=mask)

    shaped = shape(whitened, kl, beta=beta, missing_eos_penalty=missing)

    assert shaped.token_rewards is not None
    assert shaped.reward == math.fsum(shaped.token_rewards)
    assert shaped.reward == pytest.approx(
        whitened - shaped.penalty - missing, rel=1e-12, abs=1e-12 * (1 + abs(shaped.penalty) + 100)
    )
    assert all(t == 0 for t, counts in zip(shaped.token_rewards, mask, strict=True) if not counts)


def test_the_last_unmasked_token_carries_the_reward() -> None:
    kl = token_kl([-1.0] * 4, [-1.0] * 4, mask=[True, True, False, False])

    assert shape(3.0, kl).token_rewards == pytest.approx([0.0, 3.0, 0.0, 0.0])


def test_the_mask_is_the_same_as_leaving_the_tokens_out() -> None:
    masked = token_kl([-1.0, -9.0, -2.0], [-1.5, -1.0, -1.0], mask=[1, 0, 1], estimator="k3")
    left_out = token_kl([-1.0, -2.0], [-1.5, -1.0], estimator="k3")

    assert shape(1.0, masked).reward == shape(1.0, left_out).reward


def test_without_log_probabilities_the_reward_is_the_whitened_one() -> None:
    shaped = shape(1.5, None, beta=0.5, missing_eos_penalty=1.0)

    assert shaped.reward == 0.5
    assert (shaped.kl, shaped.token_rewards, shaped.penalty) == (None, None, 0.0)


def test_an_unfinished_response_loses_on_its_last_token() -> None:
    kl = token_kl([-1.0, -1.0], [-1.0, -1.0])

    assert shape(2.0, kl, missing_eos_penalty=0.75).token_rewards == pytest.approx([0.0, 1.25])


@pytest.mark.parametrize("tokens", [0, 2])
def test_a_sequence_where_nothing_counts_has_nowhere_to_put_its_reward(tokens: int) -> None:
    with pytest.raises(InputError) as caught:
        shape(1.0, token_kl([-1.0] * tokens, [-1.0] * tokens, mask=[False] * tokens))

    assert caught.value.field == "mask"


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf])
def test_beta_is_a_finite_number_and_not_negative(beta: float) -> None:
    with pytest.raises(InputError) as caught:
        shape(1.0, None, beta=beta)

    assert caught.value.field == "beta"


def test_a_token_without_penalty_gets_a_zero_without_a_sign() -> None:
    shaped = shape(0.0, token_kl([-1.0, -1.0, -1.0], [-1.0, -1.0, -2.0], mask=[1, 1, 0]))

    assert shaped.token_rewards is not None
    assert [math.copysign(1.0, value) for value in shaped.token_rewards] == [1.0] * 3
