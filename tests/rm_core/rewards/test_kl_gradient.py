"""Which estimator has the gradient of the divergence, and where: every expectation by enumeration.

A categorical policy π = softmax(θ): ∂ log π_i / ∂θ_j = δ_ij − π_j.
"""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.rewards import KLEstimator, token_kl
from rm_core.rewards.arrays import FloatArray

POLICY = np.array([0.06, 0.39, 0.13, 0.42])
REFERENCE = np.array([0.36, 0.18, 0.20, 0.26])

LOGITS = st.lists(st.floats(min_value=-4, max_value=4), min_size=4, max_size=4)


def softmax(logits: list[float]) -> FloatArray:
    weights = np.exp(np.array(logits))
    return weights / weights.sum()


def scores(policy: FloatArray) -> FloatArray:
    """∇ log π of each token, (token, θ)."""
    return np.eye(len(policy)) - policy


def forward_gradient(policy: FloatArray, reference: FloatArray) -> FloatArray:
    """∇_θ KL(π‖π_0) = Σ ∇π · (log π/π_0 + 1)."""
    return (policy[:, None] * scores(policy)).T @ (np.log(policy / reference) + 1.0)


def reverse_gradient(policy: FloatArray, reference: FloatArray) -> FloatArray:
    """∇_θ KL(π_0‖π) = −Σ π_0 · ∇ log π."""
    return -scores(policy).T @ reference


def gradient_in_reward(
    policy: FloatArray, reference: FloatArray, estimator: KLEstimator
) -> FloatArray:
    """E_π[∇ log π · estimate]: what a policy gradient follows, the estimate being a constant."""
    estimate = token_kl(np.log(policy), np.log(reference), estimator=estimator).values
    return scores(policy).T @ (policy * estimate)


def gradient_in_loss(
    policy: FloatArray, reference: FloatArray, estimator: KLEstimator
) -> FloatArray:
    """E_π[∇ estimate], the estimate being differentiated and the sampling not."""
    h = 1e-5
    above, below = (
        token_kl(np.log(policy) + step, np.log(reference), estimator=estimator).values
        for step in (h, -h)
    )
    return scores(policy).T @ (policy * (above - below) / (2 * h))


def cosine(a: FloatArray, b: FloatArray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_the_oracles_are_the_derivatives_of_the_divergences() -> None:
    def divergence(theta: list[mpmath.mpf], *, forward: bool) -> mpmath.mpf:
        total = mpmath.fsum(mpmath.exp(value) for value in theta)
        pairs = [
            (mpmath.exp(v) / total, mpmath.mpf(r)) for v, r in zip(theta, REFERENCE, strict=True)
        ]
        return mpmath.fsum(
            p * mpmath.log(p / r) if forward else r * mpmath.log(r / p) for p, r in pairs
        )

    theta = [mpmath.log(p) for p in POLICY]
    for forward, oracle in ((True, forward_gradient), (False, reverse_gradient)):
        for index, found in enumerate(oracle(POLICY, REFERENCE)):
            exact = mpmath.diff(
                lambda v, i=index, f=forward: divergence(
                    [*theta[:i], v, *theta[i + 1 :]], forward=f
                ),
                theta[index],
            )
            assert found == pytest.approx(float(exact), rel=1e-9)


@given(LOGITS, LOGITS)
def test_k1_in_the_reward_has_the_gradient_of_the_divergence(
    policy_logits: list[float], reference_logits: list[float]
) -> None:
    policy, reference = softmax(policy_logits), softmax(reference_logits)

    found = gradient_in_reward(policy, reference, "k1")

    np.testing.assert_allclose(found, forward_gradient(policy, reference), rtol=0, atol=1e-14)


def test_k3_in_the_reward_follows_the_difference_of_both_divergences_and_turns_away() -> None:
    forward = forward_gradient(POLICY, REFERENCE)

    found = gradient_in_reward(POLICY, REFERENCE, "k3")

    np.testing.assert_allclose(
        found, forward - reverse_gradient(POLICY, REFERENCE), rtol=0, atol=1e-15
    )
    assert cosine(found, forward) == pytest.approx(-0.64, abs=0.005)


def test_k2_in_the_reward_turns_away_too() -> None:
    found = gradient_in_reward(POLICY, REFERENCE, "k2")

    assert cosine(found, forward_gradient(POLICY, REFERENCE)) == pytest.approx(-0.39, abs=0.005)


def test_as_a_loss_k2_follows_the_divergence_k3_the_reverse_one_and_k1_nothing() -> None:
    forward, reverse = (
        gradient(POLICY, REFERENCE) for gradient in (forward_gradient, reverse_gradient)
    )

    for estimator, expected in (("k1", np.zeros(4)), ("k2", forward), ("k3", reverse)):
        found = gradient_in_loss(POLICY, REFERENCE, estimator)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_clip_leaves_the_gradient_of_what_it_does_not_reach() -> None:
    """And bends that of a policy that has left its reference by more."""
    far = np.array([0.97, 0.01, 0.01, 0.01]), np.array([1e-6, 0.3, 0.3, 0.399999])
    assert np.abs(np.log(POLICY / REFERENCE)).max() < 10.0 < np.log(far[0] / far[1]).max()

    assert cosine(gradient_in_reward(*far, "k1"), forward_gradient(*far)) > 0.99
    assert not np.allclose(gradient_in_reward(*far, "k1"), forward_gradient(*far), rtol=1e-3)
