"""Process rewards: each step of a response scored by itself."""

from torch import Tensor
from torch.nn import functional

from training.losses.shapes import precise, require_vectors


def step_terms(rewards: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of σ(reward) at each step's last token against the step's label.

    −(y·log σ(r) + (1 − y)·log(1 − σ(r))); a causal model has read all of the step by then, and
    nothing behind it.

    Args:
        rewards: read at the steps' last tokens, (steps,).
        labels: 1 good, 0 bad; between them a rater's doubt, (steps,).

    Returns:
        (steps,), float32 or float64, in nats.

    Raises:
        ShapeMismatch: the shapes differ, or are no vectors.

    Source: Lightman et al. 2023, arXiv 2305.20050; Wang et al. 2023, arXiv 2312.08935 eq. 2.
    """
    require_vectors("labels and rewards", labels, rewards)
    rewards = precise(rewards)
    return functional.binary_cross_entropy_with_logits(
        rewards, labels.to(rewards.dtype), reduction="none"
    )
