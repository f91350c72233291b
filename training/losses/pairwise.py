"""Objectives over pairs: the better response's reward against the other's."""

from torch import Tensor
from torch.nn import functional

from training.losses.shapes import precise, require_vectors


def bradley_terry_terms(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Negative log-likelihood of each pair: −log σ(chosen − rejected − margin).

    Computed as −logsigmoid, which stays finite where log(σ(x)) underflows.

    Args:
        chosen: rewards of preferred responses, (pairs,).
        rejected: rewards of the responses that they beat, (pairs,).
        margin: gap that is asked for, in reward units; a number or (pairs,).

    Source: arXiv 2203.02155 eq. 1 for K = 2; margin: arXiv 2307.09288 eq. 2.
    """
    return -functional.logsigmoid(_surplus(chosen, rejected, margin))


def hinge_terms(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Hinge loss of each pair: max(0, 1 + margin − (chosen − rejected)).

    A pair whose gap exceeds its margin by one teaches nothing more. The 1 is the reward's unit:
    without it a margin of 0 would be content with equal rewards.

    Args:
        chosen: rewards of preferred responses, (pairs,).
        rejected: rewards of the responses that they beat, (pairs,).
        margin: gap that is asked for beyond 1; a number or (pairs,).

    Source: Herbrich, Graepel, Obermayer 1999, "Support vector learning for ordinal regression".
    """
    return functional.relu(1 - _surplus(chosen, rejected, margin))


def _surplus(chosen: Tensor, rejected: Tensor, margin: Tensor | float) -> Tensor:
    """The gap beyond its margin, (pairs,)."""
    require_vectors("chosen and rejected", chosen, rejected)
    if isinstance(margin, Tensor):
        require_vectors("margin and chosen", margin, chosen)
    return precise(chosen) - precise(rejected) - margin
