"""The forward pass of models that can't be run packed: batches, as transformers runs the model.

Texts of similar length are padded on the right where that changes no reward, put together by equal
length where it does, and run one by one where even their company matters.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import ScalarHeads, has_head_on_tokens, head_of
from rm_core.engine.forward.base import (
    NO_DEMANDS,
    KeepsNothing,
    TextDemands,
    reads_of,
    require_whole,
)
from rm_core.engine.forward.batches import MAX_PADDING_RATIO, Together, batches_of
from rm_core.engine.forward.token_types import padded_token_types
from rm_core.engine.packing.distinct import distinct_reads
from rm_core.engine.trunk.kept_state import KeptState
from rm_core.engine.trunk.products.choose import TORCHS_OWN
from rm_core.engine.trunk.vocabulary import filler_token, vocabulary_size
from rm_core.types import Encoded, ReadPosition

_CAUSAL_PROBES = 8
_CAUSAL_TOLERANCE = 0.05
"""Above what rounding does in reduced precision; later tokens do more to some of the probes."""


class BatchedForward(KeepsNothing):
    """Forward pass of batches of texts as transformers runs the model.

    Args:
        model: any model for sequence classification.
        heads: further heads on the same trunk; only for a model with a linear head.
        reason: why this way was taken.
        together: what the texts of a batch have in common.
        demands: what a text must have; texts of a batch hold a required token equally often.
        kept: what the model is set back to before every batch; None for one that keeps nothing.
        most_padding: of a padded batch, as a share of its tokens.
    """

    attention = "transformers"
    shares_prefixes = False
    products = TORCHS_OWN

    def __init__(
        self,
        model: Any,
        *,
        heads: Sequence[Linear] = (),
        reason: str,
        together: Together = "padded",
        demands: TextDemands = NO_DEMANDS,
        kept: KeptState | None = None,
        most_padding: float = MAX_PADDING_RATIO,
    ) -> None:
        self.reason = reason
        self.demands = demands
        self._model = model
        self._together: Together = together
        self._kept = kept
        self._most_padding = most_padding
        self._filler = filler_token(model)
        self._on_tokens = has_head_on_tokens(model)
        linear = self._on_tokens or heads
        self._heads = ScalarHeads([head_of(model), *heads]) if linear else None

    @property
    def path(self) -> str:
        """See `Forward`."""
        return self._together

    @cached_property
    def reads_positions(self) -> bool:
        """Whether a reward within a text means that of the text up to there; found by trying."""
        if not self._on_tokens:
            return False
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(
            0, vocabulary_size(self._model), (_CAUSAL_PROBES, 8), generator=generator
        ).tolist()
        whole = [
            Encoded(tuple(row), 7, extra_positions=(ReadPosition(3, 0, 0, ""),)) for row in ids
        ]
        halves = [Encoded(tuple(row[:4]), 3) for row in ids]
        try:
            within = torch.tensor(self.rewards(whole))[1::2]
            alone = torch.tensor(self.rewards(halves))
        except Exception:  # a model that runs whole texts need not run four tokens
            return False
        return bool(((within - alone).abs() <= _CAUSAL_TOLERANCE * (1 + alone.abs())).all())

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards, (total reads, heads); see `Forward.rewards`."""
        if not texts:
            return []
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
        """Nothing to do: batches are made in the forward."""

    def _batches(self, texts: Sequence[Encoded]) -> list[list[int]]:
        return batches_of(
            texts,
            self._together,
            counted_token=self.demands.required_token,
            most_padding=self._most_padding,
        )

    @torch.inference_mode()
    def _states(self, texts: list[Encoded], reads: list[list[int]]) -> Tensor:
        starts = list(accumulate((len(own) for own in reads), initial=0))
        states: Tensor | None = None
        for batch in self._batches(texts):
            found = self._batch_states([texts[i] for i in batch], [reads[i] for i in batch])
            if states is None:
                states = found.new_empty(starts[-1], found.shape[-1])
            at = [starts[i] + k for i in batch for k in range(len(reads[i]))]
            states[torch.tensor(at, device=states.device)] = found
        return torch.empty(0, 0) if states is None else states

    def _batch_states(self, texts: list[Encoded], reads: list[list[int]]) -> Tensor:
        inputs = self._inputs(texts)
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
        for batch in self._batches(texts):
            logits = self._model(**self._inputs([texts[i] for i in batch])).logits
            for index, value in zip(batch, logits.float()[:, 0].tolist(), strict=True):
                rewards[index] = [value]
        return rewards

    def _inputs(self, texts: list[Encoded]) -> dict[str, Tensor]:
        """Ids, segments, a mask where there is padding, (texts, longest); sets the model back."""
        if self._kept is not None:
            self._kept.restore()
        lengths = [text.num_tokens for text in texts]
        ids = torch.full((len(texts), max(lengths)), self._filler, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : text.num_tokens] = torch.tensor(text.input_ids)
        inputs = {"input_ids": ids, **padded_token_types(texts)}
        if min(lengths) < max(lengths):
            real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
            inputs["attention_mask"] = real.long()
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items()}
