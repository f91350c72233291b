"""What keeps rewards near zero, which preferences alone leave open: they see differences only."""

from torch import Tensor

from training.losses.shapes import precise, require_vectors


def centering_terms(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Squared sum of each pair's rewards: (r_c + r_r)².

    Draws the middle of a pair to 0 and leaves its gap alone.

    Args:
        chosen: rewards of preferred responses, (pairs,).
        rejected: rewards of the responses that they beat, (pairs,).

    Source: Eisenstein et al. 2023, arXiv 2312.09244 eq. 2; TRL's `center_rewards_coefficient`,
    which recommends a weight of 0.01.
    """
    require_vectors("chosen and rejected", chosen, rejected)
    return (precise(chosen) + precise(rejected)).square()


def l2_terms(rewards: Tensor) -> Tensor:
    """Square of each reward: r².

    Unlike centring it also holds gaps small.

    Source: Open-Assistant's `RMLoss` (weight 0.001).
    """
    require_vectors("rewards", rewards, rewards)
    return precise(rewards).square()
