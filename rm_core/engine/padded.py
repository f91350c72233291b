"""The padded way: batches of similar length through the model as transformers runs it.

For encoders, and for every decoder that can't be run packed.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice, repeat
from typing import Any

import torch
from torch.nn import Linear

from rm_core.heads import ScalarHeads
from rm_core.types import Encoded, Place

MAX_PADDING_RATIO = 0.1
"""Padded batches hold at most this share of padding; beyond it another batch is cheaper."""

_CAUSAL_PROBES = 8
_CAUSAL_TOLERANCE = 0.05
"""Above what rounding does in reduced precision; later tokens do more to some of the probes."""


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

    @cached_property
    def reads_places(self) -> bool:
        """Whether a reward within a text means that of the text up to there; found by trying."""
        if self._heads is None:
            return False
        generator = torch.Generator().manual_seed(0)
        vocabulary = self._model.config.get_text_config().vocab_size
        ids = torch.randint(0, vocabulary, (_CAUSAL_PROBES, 8), generator=generator).tolist()
        whole = [Encoded(tuple(row), 7, also_read=(Place(3, 0, 0, ""),)) for row in ids]
        halves = [Encoded(tuple(row[:4]), 3) for row in ids]
        within = torch.tensor(self.rewards_at_places(whole))[:, 1]
        alone = torch.tensor(self.rewards(halves))
        return bool(((within - alone).abs() <= _CAUSAL_TOLERANCE * (1 + alone.abs())).all())

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards in order, (texts, heads), float32 values."""
        return [own for own, *_ in self._read(texts, repeat(()))]

    def rewards_at_places(self, texts: Sequence[Encoded]) -> list[list[list[float]]]:
        """Raw rewards of the read position and of each place, (texts, 1 + places, heads).

        Only for a model with a linear head; see `reads_places`.
        """
        return self._read(texts, (text.also_read for text in texts))

    @torch.inference_mode()
    def _read(
        self, texts: Sequence[Encoded], places: Iterable[Sequence[Place]]
    ) -> list[list[list[float]]]:
        reads = [
            [text.read_position, *(place.position for place in also)]
            for text, also in zip(texts, places, strict=False)
        ]
        rewards: list[list[list[float]]] = [[] for _ in texts]
        for batch in padded_batches([text.num_tokens for text in texts]):
            found = self._batch([texts[i] for i in batch], [reads[i] for i in batch])
            for index, values in zip(batch, found, strict=True):
                rewards[index] = values
        return rewards

    def _batch(self, texts: list[Encoded], reads: list[list[int]]) -> list[list[list[float]]]:
        longest = max(text.num_tokens for text in texts)
        ids = torch.full((len(texts), longest), self._pad, dtype=torch.long)
        mask = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.num_tokens] = torch.tensor(text.input_ids)
            mask[row, : text.num_tokens] = 1
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        if self._heads is None:
            logits = self._model(input_ids=ids, attention_mask=mask).logits
            return [[[float(value)]] for value in logits.float()[:, 0].tolist()]
        hidden = self._model.base_model(input_ids=ids, attention_mask=mask)[0]
        rows = [row for row, own in enumerate(reads) for _ in own]
        flat = [position for own in reads for position in own]
        at = torch.tensor([rows, flat], device=hidden.device)
        found = iter(self._heads(hidden[at[0], at[1]]))
        return [list(islice(found, len(own))) for own in reads]


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
