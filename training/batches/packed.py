"""The packed layout: a batch in one row without padding, each common prefix computed once.

The engine's radix tree and tree attention (`rm_core.engine`), with gradients: chosen and rejected,
or all responses of a ranking, share their prompt; prompts share a system prompt; equal sequences
are one. Loss and gradients are those of the padded layout.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rm_core.engine.attention import ATTENTION_NAME, TreePlan
from rm_core.engine.forward.packed import TransformersTrunk, reading_order
from rm_core.engine.packing.distinct import distinct_reads
from rm_core.engine.packing.plan import Pack, common_prefix_length, plan_pack
from rm_core.engine.trunk.last_layer import read_all_rows
from rm_core.types import Encoded
from training.batches.padded import bare_model, read_head, replaced_forward


class PackedLayout:
    """All responses of a batch end to end, shared prefixes once.

    Args:
        max_pack_tokens: a batch of more tokens, after sharing, is cut into several packs, and each
            is computed again for its gradients, so that memory holds the activations of one at a
            time; 0: no limit.
    """

    name = "packed"

    def __init__(self, *, max_pack_tokens: int = 0) -> None:
        self.max_pack_tokens = max_pack_tokens
        self._attached: Any = None

    @contextmanager
    def attached(self, model: Any) -> Iterator[None]:
        """Give the model our attention, and the layout's run in the place of its `forward`.

        Where activations are recomputed (gradient checkpointing), `rewards` and the backward pass
        both belong inside.
        """
        bare = bare_model(model)
        if bare is self._attached:
            yield
            return
        attention = bare.config._attn_implementation
        run = partial(_packed_rewards, trunk=TransformersTrunk(bare))
        try:
            with replaced_forward(bare, run):
                self._attached = bare
                yield
        finally:
            self._attached = None
            if attention != ATTENTION_NAME:  # else it was packed before, and goes on so
                bare.set_attn_implementation(attention)
                read_all_rows(bare.base_model)

    def collate(self, encoded: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> dict[str, Any]:
        """`input_ids`, (1, tokens), int64, and `packs`, the plans of one pack after the other.

        `read_order` is, of each read, where among the distinct ones it stands, (total reads,).
        """
        once = distinct_reads(encoded, reads)
        packs = [
            _pack(once.texts[start:end], once.reads[start:end])
            for start, end in self._cuts([item.input_ids for item in once.texts])
        ]
        row = np.concatenate([pack.input_ids for pack in packs])
        return {
            "input_ids": torch.from_numpy(row)[None],
            "packs": tuple(packs),
            "read_order": torch.tensor(once.order),
        }

    def rewards(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Rewards at the read positions, (total reads,), float32; see `BatchLayout`."""
        own = {name: inputs[name] for name in ("input_ids", "packs")}
        with self.attached(model):
            rewards: Tensor = model(**own)
        return rewards[inputs["read_order"].to(rewards.device)]

    def _cuts(self, sequences: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
        """Ranges of sequences that go into one pack each."""
        arrays = [np.asarray(ids, dtype=np.int64) for ids in sequences]
        cuts, tokens = [0], 0
        for index, ids in enumerate(arrays):
            # What a sequence adds to its neighbours: a little more than the tree will compute.
            shared = common_prefix_length(arrays[index - 1], ids) if index > cuts[-1] else 0
            tokens += len(ids) - shared
            if self.max_pack_tokens and tokens > self.max_pack_tokens and index > cuts[-1]:
                cuts.append(index)
                tokens = len(ids)
        return list(zip(cuts, [*cuts[1:], len(arrays)], strict=True))


def _pack(encoded: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Pack:
    """A pack whose reads stand response by response."""
    pack = plan_pack(
        [item.input_ids for item in encoded],
        [own[0] for own in reads],
        extra_positions=[own[1:] for own in reads],
    )
    order = reading_order([len(own) for own in reads])
    return replace(pack, read_rows=pack.read_rows[order])


def _packed_rewards(
    model: Any, input_ids: Tensor, packs: Sequence[Pack], *, trunk: TransformersTrunk, **_: Any
) -> Tensor:
    """Rewards of every read, (total reads,), float32."""
    states = []
    start = 0
    for pack in packs:
        tree = TreePlan.of(pack, input_ids.device)
        row = input_ids[0, start : start + pack.num_tokens]
        start += pack.num_tokens
        if len(packs) > 1 and torch.is_grad_enabled():
            states.append(checkpoint(trunk, row, tree, use_reentrant=False))
        else:
            states.append(trunk(row, tree))
    return read_head(model, torch.cat(states))
