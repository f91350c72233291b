"""Absolute safety: whether a response is safe, beside whether it is safer than another."""

from torch import Tensor
from torch.nn import functional

from training.losses.shapes import precise, require_vectors


def safety_auxiliary_terms(rewards: Tensor, is_safe: Tensor) -> Tensor:
    """Binary cross-entropy of σ(reward) against each response's safety label.

    −(y·log σ(r) + (1 − y)·log(1 − σ(r)))

    Our reading, not the paper's formula: LLaMA-2 §A.3.4 (arXiv 2307.09288, Table 29) says that an
    auxiliary safety loss raised the recall of unsafe responses, and does not write it out.

    Args:
        rewards: of labelled responses, (responses,).
        is_safe: 1 safe, 0 unsafe, (responses,), any dtype.

    Returns:
        (responses,), float32 or float64, in nats.

    Raises:
        ShapeMismatch: the shapes differ, or are no vectors.
    """
    require_vectors("is_safe and rewards", is_safe, rewards)
    rewards = precise(rewards)
    return functional.binary_cross_entropy_with_logits(
        rewards, is_safe.to(rewards.dtype), reduction="none"
    )
