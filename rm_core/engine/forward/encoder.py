"""The forward pass of encoders: texts end to end in rows, each of which attends to itself alone.

Nothing is shared between texts, since a token sees what comes after it. The layers work on rows of
some thousand tokens. What stands between trunk and head reads each text's first token, so it is
given the first tokens alone, as if they were texts of one token; `forward.choose_forward` compares
the rewards with transformers' own before this way is taken, and a model whose head reads anything
else goes the padded way.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import ScalarHeads, head_of
from rm_core.engine.attention.blocks import BLOCKS_NAME, Blocks
from rm_core.engine.forward.base import NO_DEMANDS, KeepsNothing, reads_of, require_whole
from rm_core.engine.forward.token_types import row_token_types
from rm_core.engine.packing.distinct import distinct_reads
from rm_core.engine.packing.policy import consecutive_packs
from rm_core.engine.trunk.products.choose import TORCHS_OWN
from rm_core.types import Encoded

CPU_ROW_TOKENS = 2048
"""Tokens of a row on a CPU; beyond, what the layers pass on no longer stays in the caches."""


class EncoderRows(KeepsNothing):
    """Forward pass of an encoder over rows of whole texts; its heads read each text's first token.

    Args:
        model: an encoder for sequence classification whose attention can be replaced.
        heads: further heads on what the model's own head reads.
        row_tokens: of a row at most, but for a single longer text; None for no limit.

    Raises:
        MissingHead: the model ends in no linear layer with one output.
    """

    path = "packed"
    reason = "encoder with replaceable attention"
    attention = "torch"
    shares_prefixes = False
    reads_positions = False
    demands = NO_DEMANDS
    products = TORCHS_OWN

    def __init__(
        self, model: Any, *, heads: Sequence[Linear] = (), row_tokens: int | None = None
    ) -> None:
        self._model = model
        self._head = head_of(model)
        self._heads = ScalarHeads([self._head, *heads])
        self._row_tokens = row_tokens
        self._takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
        self._padding_at = _padding_position(model.base_model)
        model.set_attn_implementation(BLOCKS_NAME)

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards, (texts, heads); an encoder has none within a text: see `Forward.rewards`."""
        reads = list(map(reads_of, texts))
        require_whole(self._model, texts, reads)
        if not texts:
            return []
        once = distinct_reads(texts, reads)
        return once.spread(self._heads(self._states(once.texts)))

    def plan_ahead(self, texts: Sequence[Encoded]) -> None:
        """Nothing to do: laying texts end to end takes no planning."""

    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """What the head reads of each text, whose own read position is the only one it has."""
        require_whole(self._model, texts, reads)
        if not texts:
            return torch.empty(0, 0)
        once = distinct_reads(texts, reads)
        states = self._states(once.texts)
        return states[torch.tensor(once.order, device=states.device)]

    @torch.inference_mode()
    def _states(self, texts: Sequence[Encoded]) -> Tensor:
        """What the head reads, (texts, hidden)."""
        rows = consecutive_packs([text.num_tokens for text in texts], self._row_tokens)
        return torch.cat([self._row_states([texts[i] for i in row]) for row in rows])

    def _row_states(self, texts: Sequence[Encoded]) -> Tensor:
        device = self._model.device
        borders = list(accumulate((text.num_tokens for text in texts), initial=0))
        ids = torch.tensor([token for text in texts for token in text.input_ids], device=device)
        positions = torch.cat([self._positions(text) for text in texts]).to(device)
        types = {"token_type_ids": row_token_types(texts).to(device)} if self._takes_types else {}
        firsts = torch.tensor(borders[:-1], device=device)
        with _reading(self._model.base_model, firsts), _given(self._head) as given:
            self._model(
                input_ids=ids[None],
                position_ids=positions[None],
                blocks=Blocks(list(pairwise(borders)), device),
                **types,
            )
        return given[-1]

    def _positions(self, text: Encoded) -> Tensor:
        """Position ids of a text, (tokens,), as the model would count them itself."""
        if self._padding_at is None:
            return torch.arange(text.num_tokens)
        real = torch.tensor(text.input_ids) != self._padding_at
        return torch.cumsum(real, dim=0) * real + self._padding_at


def _padding_position(trunk: Any) -> int | None:
    """The id that RoBERTa and its kin leave out while they count positions, from it on."""
    table = getattr(getattr(trunk, "embeddings", None), "position_embeddings", None)
    padding: int | None = getattr(table, "padding_idx", None)
    return padding


@contextmanager
def _reading(trunk: Any, firsts: Tensor) -> Iterator[None]:
    """Give what follows the trunk the row's first tokens, as texts of one token, for a while."""

    def only_firsts(_module: Any, _inputs: Any, output: Any) -> Any:
        states = output.last_hidden_state[0][firsts][:, None]
        output["last_hidden_state"] = states
        pooler = getattr(trunk, "pooler", None)
        if pooler is not None and output.get("pooler_output") is not None:
            output["pooler_output"] = pooler(states)
        return output

    hook = trunk.register_forward_hook(only_firsts)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _given(head: Linear) -> Iterator[list[Tensor]]:
    """Record what a head is given, for a while."""
    given: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        yield given
    finally:
        hook.remove()


def encoder_rows(model: Any, *, heads: Sequence[Linear] = ()) -> EncoderRows:
    """The rows that suit the model's device."""
    on_cpu = model.device.type == "cpu"
    return EncoderRows(model, heads=heads, row_tokens=CPU_ROW_TOKENS if on_cpu else None)
