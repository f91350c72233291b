"""Objectives on one reward at a time: against a rating, a safety label, or a step's label.

Binary cross-entropy is −(y·log σ(r) + (1 − y)·log(1 − σ(r))), in nats.
"""

from torch import Tensor
from torch.nn import functional

from training.losses.shapes import precise, require_vectors


def regression_terms(rewards: Tensor, ratings: Tensor) -> Tensor:
    """Squared error of each reward: (r − rating)², in squared reward units.

    Responses that nobody rated are left out before, so that "not rated" needs no number of its own.

    Args:
        rewards: of rated responses, (responses,).
        ratings: what they were given, on the scale that rewards shall have, (responses,).

    Source: HelpSteer2, arXiv 2406.08673 (mean squared error of a linear head).
    """
    require_vectors("ratings and rewards", ratings, rewards)
    return (precise(rewards) - ratings).square()


def step_terms(rewards: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of σ(reward) at each step's last token against the step's label.

    A causal model has read all of the step by then, and nothing behind it.

    Args:
        rewards: read at the steps' last tokens, (steps,).
        labels: 1 good, 0 bad; between them a rater's doubt, (steps,).

    Source: Lightman et al. 2023, arXiv 2305.20050; Wang et al. 2023, arXiv 2312.08935 eq. 2.
    """
    require_vectors("labels and rewards", labels, rewards)
    return _cross_entropy(rewards, labels)


def safety_auxiliary_terms(rewards: Tensor, is_safe: Tensor) -> Tensor:
    """Cross-entropy of σ(reward) against each response's safety label.

    Our reading, not the paper's formula: LLaMA-2 §A.3.4 (arXiv 2307.09288, Table 29) says that an
    auxiliary safety loss raised the recall of unsafe responses, and does not write it out.

    Args:
        rewards: of labelled responses, (responses,).
        is_safe: 1 safe, 0 unsafe, (responses,), any dtype.
    """
    require_vectors("is_safe and rewards", is_safe, rewards)
    return _cross_entropy(rewards, is_safe)


def _cross_entropy(rewards: Tensor, labels: Tensor) -> Tensor:
    rewards = precise(rewards)
    return functional.binary_cross_entropy_with_logits(
        rewards, labels.to(rewards.dtype), reduction="none"
    )
