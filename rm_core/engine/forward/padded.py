"""The padded forward pass: batches of similar length through the model as transformers runs it.

For every model that can't be run packed.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import ScalarHeads, has_head_on_tokens, head_of
from rm_core.engine.forward.base import reads_of, require_whole
from rm_core.engine.forward.token_types import padded_token_types
from rm_core.engine.packing.distinct import distinct_reads
from rm_core.types import Encoded, ReadPosition

MAX_PADDING_RATIO = 0.1
"""Padded batches hold at most this share of padding; beyond it another batch is cheaper."""

_CAUSAL_PROBES = 8
_CAUSAL_TOLERANCE = 0.05
"""Above what rounding does in reduced precision; later tokens do more to some of the probes."""


class PaddedForward:
    """Forward pass of right-padded batches of similar length, as transformers runs the model.

    Args:
        model: any model for sequence classification.
        heads: further heads on the same trunk; only for a model with a linear head.
        reason: why this way was taken.
    """

    path = "padded"
    shares_prefixes = False

    def __init__(self, model: Any, *, heads: Sequence[Linear] = (), reason: str) -> None:
        self.reason = reason
        self._model = model
        self._pad = model.config.get_text_config().pad_token_id or 0  # masked, so any id will do
        self._on_tokens = has_head_on_tokens(model)
        linear = self._on_tokens or heads
        self._heads = ScalarHeads([head_of(model), *heads]) if linear else None

    @cached_property
    def reads_positions(self) -> bool:
        """Whether a reward within a text means that of the text up to there; found by trying."""
        if not self._on_tokens:
            return False
        generator = torch.Generator().manual_seed(0)
        vocabulary = self._model.config.get_text_config().vocab_size
        ids = torch.randint(0, vocabulary, (_CAUSAL_PROBES, 8), generator=generator).tolist()
        whole = [
            Encoded(tuple(row), 7, extra_positions=(ReadPosition(3, 0, 0, ""),)) for row in ids
        ]
        halves = [Encoded(tuple(row[:4]), 3) for row in ids]
        within = torch.tensor(self.rewards(whole))[1::2]
        alone = torch.tensor(self.rewards(halves))
        return bool(((within - alone).abs() <= _CAUSAL_TOLERANCE * (1 + alone.abs())).all())

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards, (total reads, heads); see `Forward.rewards`."""
        reads = list(map(reads_of, texts))
        if not self._on_tokens:
            require_whole(self._model, texts, reads)
        once = distinct_reads(texts, reads)
        if self._heads is None:
            return once.spread(self._logits(once.texts))
        return once.spread(self._heads(self._states(once.texts, once.reads)))

    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """What a head reads at positions of one's choice; see `Forward.states`."""
        if not self._on_tokens:
            require_whole(self._model, texts, reads)
        once = distinct_reads(texts, reads)
        states = self._states(once.texts, once.reads)
        return states[torch.tensor(once.order, device=states.device)] if once.order else states

    def plan_ahead(self, texts: Sequence[Encoded]) -> None:
        """Nothing to do: padding is part of the forward."""

    @torch.inference_mode()
    def _states(self, texts: list[Encoded], reads: list[list[int]]) -> Tensor:
        starts = list(accumulate((len(own) for own in reads), initial=0))
        states: Tensor | None = None
        for batch in padded_batches([text.num_tokens for text in texts]):
            found = self._batch_states([texts[i] for i in batch], [reads[i] for i in batch])
            if states is None:
                states = found.new_empty(starts[-1], found.shape[-1])
            at = [starts[i] + k for i in batch for k in range(len(reads[i]))]
            states[torch.tensor(at, device=states.device)] = found
        return torch.empty(0, 0) if states is None else states

    def _batch_states(self, texts: list[Encoded], reads: list[list[int]]) -> Tensor:
        inputs = self._padded(texts)
        rows = [row for row, own in enumerate(reads) for _ in own]
        flat = [position for own in reads for position in own]
        at = torch.tensor([rows, flat], device=self._model.device)
        if self._on_tokens:
            hidden: Tensor = self._model.base_model(**inputs)[0]
        else:
            hidden = self._before_head(inputs)
        # What an encoder's head reads has no tokens any more, but for CTRL's, say.
        return hidden if hidden.ndim == 2 else hidden[at[0], at[1]]

    def _before_head(self, inputs: dict[str, Tensor]) -> Tensor:
        """What a head that is no `score` is given by the layers before it."""
        given: list[Tensor] = []
        hook = head_of(self._model).register_forward_pre_hook(
            lambda _, inputs: given.append(inputs[0])
        )
        try:
            self._model(**inputs)
        finally:
            hook.remove()
        return given[-1]

    @torch.inference_mode()
    def _logits(self, texts: Sequence[Encoded]) -> list[list[float]]:
        rewards: list[list[float]] = [[] for _ in texts]
        for batch in padded_batches([text.num_tokens for text in texts]):
            logits = self._model(**self._padded([texts[i] for i in batch])).logits
            for index, value in zip(batch, logits.float()[:, 0].tolist(), strict=True):
                rewards[index] = [value]
        return rewards

    def _padded(self, texts: list[Encoded]) -> dict[str, Tensor]:
        """Ids, mask and segments, (texts, longest), int64, on the model's device."""
        longest = max(text.num_tokens for text in texts)
        ids = torch.full((len(texts), longest), self._pad, dtype=torch.long)
        mask = torch.zeros((len(texts), longest), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.num_tokens] = torch.tensor(text.input_ids)
            mask[row, : text.num_tokens] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, **padded_token_types(texts)}
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items()}


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
