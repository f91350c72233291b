"""Comparisons to tensors: responses stacked and padded right, pairs as indices into them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rm_core.types import Encoded
from training.comparisons import Comparison
from training.config import PairWeighting


def pad_right(encoded: Sequence[Encoded], pad_token_id: int) -> dict[str, Tensor]:
    """Token ids and attention mask, (responses, longest), int64, padding at the right.

    Args:
        encoded: at least one sequence.
        pad_token_id: the model's pad token; no EOS, or the read position would move.
    """
    longest = max(item.num_tokens for item in encoded)
    input_ids = torch.full((len(encoded), longest), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros((len(encoded), longest), dtype=torch.long)
    for row, item in enumerate(encoded):
        input_ids[row, : item.num_tokens] = torch.tensor(item.input_ids, dtype=torch.long)
        attention_mask[row, : item.num_tokens] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


@dataclass(frozen=True, slots=True)
class ComparisonCollator:
    """Makes one batch of several prompts' comparisons.

    The batch holds `input_ids` and `attention_mask` (responses, longest); `chosen` and `rejected`,
    indices into the responses, `margin` and `weight`, all (pairs,); `labelled`, indices of
    responses with a safety label, and `is_safe`, those labels, (labelled,).

    Attributes:
        pad_token_id: the model's pad token.
        pair_weighting: weight 1 for each pair, or 1 shared by the pairs of a prompt.
    """

    pad_token_id: int
    pair_weighting: PairWeighting

    def __call__(self, comparisons: Sequence[Comparison]) -> dict[str, Tensor]:
        """Stack comparisons; every response stands once, however many pairs it is in."""
        encoded: list[Encoded] = []
        chosen, rejected, margin, weight = [], [], [], []
        labelled, is_safe = [], []
        for comparison in comparisons:
            offset = len(encoded)
            encoded.extend(comparison.encoded)
            share = 1.0 / max(1, len(comparison.pairs)) if self.pair_weighting == "prompt" else 1.0
            for pair in comparison.pairs:
                chosen.append(offset + pair.chosen)
                rejected.append(offset + pair.rejected)
                margin.append(pair.margin)
                weight.append(share)
            for index, label in enumerate(comparison.is_safe):
                if label is not None:
                    labelled.append(offset + index)
                    is_safe.append(float(label))
        return {
            **pad_right(encoded, self.pad_token_id),
            "chosen": torch.tensor(chosen, dtype=torch.long),
            "rejected": torch.tensor(rejected, dtype=torch.long),
            "margin": torch.tensor(margin, dtype=torch.float32),
            "weight": torch.tensor(weight, dtype=torch.float32),
            "labelled": torch.tensor(labelled, dtype=torch.long),
            "is_safe": torch.tensor(is_safe, dtype=torch.float32),
        }
