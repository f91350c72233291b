"""The padded way: batches of similar length through the model as transformers runs it.

For encoders, and for every decoder that can't be run packed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Linear

from rm_core.heads import ScalarHeads
from rm_core.types import Encoded

MAX_PADDING_RATIO = 0.1
"""Padded batches hold at most this share of padding; beyond it another batch is cheaper."""


class PaddedForward:
    """Batches of similar length, right-padded, through the model as transformers runs it.

    Args:
        model: any model for sequence classification.
        heads: further heads on the same trunk; only for a decoder with a linear `score` head.
        reason: why this way was taken.
    """

    path = "padded"
    shares_prefixes = False

    def __init__(self, model: Any, *, heads: Sequence[Linear] = (), reason: str) -> None:
        self.reason = reason
        self._model = model
        self._pad = model.config.get_text_config().pad_token_id or 0  # masked, so any id will do
        linear = isinstance(getattr(model, "score", None), Linear)
        self._heads = ScalarHeads([model.score, *heads]) if linear else None

    @torch.inference_mode()
    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads), float32 values."""
        rewards: list[list[float]] = [[] for _ in texts]
        for batch in padded_batches([text.num_tokens for text in texts]):
            for index, values in zip(batch, self._batch([texts[i] for i in batch]), strict=True):
                rewards[index] = values
        return rewards

    def _batch(self, texts: list[Encoded]) -> list[list[float]]:
        longest = max(text.num_tokens for text in texts)
        ids = torch.full((len(texts), longest), self._pad, dtype=torch.long)
        mask = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.num_tokens] = torch.tensor(text.input_ids)
            mask[row, : text.num_tokens] = 1
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        if self._heads is None:
            logits = self._model(input_ids=ids, attention_mask=mask).logits
            return [[float(value)] for value in logits.float()[:, 0].tolist()]
        hidden = self._model.base_model(input_ids=ids, attention_mask=mask)[0]
        rows = torch.arange(len(texts), device=hidden.device)
        read = torch.tensor([text.read_position for text in texts], device=hidden.device)
        return self._heads(hidden[rows, read])


def padded_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Group texts of similar length, so that little is padding.

    Args:
        lengths: in tokens.

    Returns:
        Indices into `lengths`, each exactly once, longest batch first.
    """
    batches: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        current = batches[-1] if batches else []
        longest = lengths[current[0]] if current else 0
        total = longest * (len(current) + 1)
        if current and real + lengths[index] >= (1 - MAX_PADDING_RATIO) * total:
            current.append(index)
            real += lengths[index]
        else:
            batches.append([index])
            real = lengths[index]
    return batches
