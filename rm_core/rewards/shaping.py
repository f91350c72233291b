"""Shaped rewards for PPO: the whitened reward less the KL penalty, per token and per sequence."""

import math
from typing import NamedTuple

import numpy as np

from rm_core.errors import InputError
from rm_core.rewards.arrays import FloatArray
from rm_core.rewards.kl import TokenKL

DEFAULT_BETA = 0.01
"""LLaMA-2's coefficient for 7B and 13B; 0.005 for 34B and 70B (arXiv:2307.09288 §3.2.3)."""


class Shaped(NamedTuple):
    """A sequence's shaped reward in both forms.

    Attributes:
        reward: the sequence's shaped reward, the sum of `token_rewards`.
        token_rewards: (tokens,), float64, 0 where masked; None where no log-probabilities came.
        kl: the sequence's KL estimate, nats; None where no log-probabilities came.
        penalty: β·KL; 0 where no log-probabilities came.
        missing_eos_penalty: what was taken off for an unfinished response.
    """

    reward: float
    token_rewards: FloatArray | None
    kl: float | None
    penalty: float
    missing_eos_penalty: float


def shape(
    whitened: float,
    kl: TokenKL | None,
    *,
    beta: float = DEFAULT_BETA,
    missing_eos_penalty: float = 0.0,
) -> Shaped:
    """The shaped reward of one sequence.

    t = −β·KL_t on unmasked tokens, 0 on masked ones; the last unmasked token also gets the
    whitened reward less the missing-EOS penalty; reward = Σ t

    Args:
        whitened: the sequence's whitened reward.
        kl: per-token estimates; None: the reward alone, without tokens.
        beta: coefficient of the penalty, ≥ 0, reward units per nat.
        missing_eos_penalty: taken off, ≥ 0; pass 0 for a finished response.

    Returns:
        Both forms; the token rewards sum to the sequence's reward.

    Raises:
        InputError: no token is unmasked, or a coefficient is negative or not finite.
    Source: R = R̃_c − β·D_KL(π_θ‖π_0), arXiv:2307.09288 §3.2.3; the placing per token as in
    Stiennon et al. 2020, arXiv:2009.01325, and TRL's PPO.
    """
    for field, value in (("beta", beta), ("missing_eos_penalty", missing_eos_penalty)):
        if not (math.isfinite(value) and value >= 0.0):
            raise InputError(f"{field} must be a finite number, 0 or above", field=field)
    final = whitened - missing_eos_penalty
    if kl is None:
        return Shaped(final, None, None, 0.0, missing_eos_penalty)
    unmasked = np.flatnonzero(kl.mask)
    if unmasked.size == 0:
        raise InputError(
            "every token is masked, so that none can carry the reward; unmask at least one",
            field="mask",
        )
    # adding 0.0 turns −0.0 into 0.0
    token_rewards = np.where(kl.mask, -beta * kl.values, 0.0) + 0.0
    token_rewards[unmasked[-1]] += final
    return Shaped(
        reward=math.fsum(token_rewards),
        token_rewards=token_rewards,
        kl=kl.total,
        penalty=beta * kl.total,
        missing_eos_penalty=missing_eos_penalty,
    )
