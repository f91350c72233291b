"""The limit with attention counted: bare products and bare SDPA calls of what the packs hold."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from loadtest.bench.strategies import GemmLimit, Rewards
from rm_core.engine.packing.plan import Pack, plan_pack
from rm_core.types import Encoded


def planned(packs: Sequence[Sequence[int]], texts: Sequence[Encoded]) -> list[Pack]:
    """The plans of packs, as the engine lays them out.

    Args:
        packs: indices into `texts`.
        texts: encoded.
    """
    chosen = ([texts[index] for index in pack] for pack in packs)
    return [plan_pack([t.input_ids for t in own], [t.read_position for t in own]) for own in chosen]


class AttentionLimit:
    """A `GemmLimit` and torch's own SDPA of every layer over the same packs, shared prefixes once.

    Each run of tokens attends to itself causally, and what continues it attends to it fully: a call
    each, on random queries, keys and values that lie as the kernel reads them fastest. The parts
    are not merged, and the last layer's attention, which only rows that a head reads need, is left
    out: no engine that attends by this kernel is faster.

    Args:
        name: its row.
        products: the bare products of the same packs.
        model: a transformers model whose trunk has `layers`.
        plans: of the packs.
    """

    def __init__(self, name: str, products: GemmLimit, model: Any, plans: Sequence[Pack]) -> None:
        self.name = name
        self._products = products
        self._calls: list[tuple[Tensor, Tensor, Tensor, bool]] = []
        config = model.config
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        self._layers = len(model.base_model.layers) - 1

        def random(rows: int, each: int) -> Tensor:
            # A key head stands for the query heads that it serves.
            drawn = torch.randn(groups, each, rows, dim, device=model.device, dtype=model.dtype)
            return drawn.expand(-1, heads // groups, -1, -1)

        for plan in plans:
            for segment in plan.segments:
                own, below = segment.end - segment.start, segment.subtree_end - segment.end
                key, value = random(own, 1), random(own, 1)
                self._calls.append((random(own, heads // groups), key, value, True))
                if below:
                    self._calls.append((random(below, heads // groups), key, value, False))

    @torch.inference_mode()
    def run(self) -> Rewards:
        """Every product once, and every layer's attention but the last's; no rewards come of it."""
        self._products.run()
        for _ in range(self._layers):
            for query, key, value, causal in self._calls:
                scaled_dot_product_attention(query, key, value, is_causal=causal)
        return {}
