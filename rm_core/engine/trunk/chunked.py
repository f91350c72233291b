"""Our own run of Llama-shaped trunks on the CPU: all but attention, a chunk of rows at a time.

Transformers runs each operation over the whole row of tokens, and at thousands of tokens every
intermediate result is tens of megabytes: written to memory, read back, and its pages freed again.
Here a chunk of rows goes through a whole half-layer while it is in the processor's cache, in place
where possible. The parts are transformers' own modules and weights; only the order differs, and
`forward.choose_forward` compares the result with transformers' own before it is used.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from rm_core.engine.attention import TreePlan, tree_attention
from rm_core.engine.attention.merged import merged_attention_at
from rm_core.engine.trunk.products.base import EnterRows, MakeProduct
from rm_core.engine.trunk.products.mm import MmProduct
from rm_core.engine.trunk.sliding_window import layer_windows

CHUNK_BYTES = 6 * 2**20
"""Of a chunk's widest result: what stays in the second-level caches of two cores."""

FEW_READS = 8
"""The last layer attends from the rows that are read alone where they are at most one in so many:
each is a call of its own."""

MIN_ROWS, MAX_ROWS = 128, 1024
"""Rows of a chunk: enough for full speed of the matrix products on every core."""

_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_ATTENTION_NORMS = {"q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_TRUNK = {"embed_tokens", "layers", "norm", "rotary_emb"}


def is_llama_shaped(trunk: Any) -> bool:
    """Whether a trunk has the parts, and only the parts, that `ChunkedTrunk` knows.

    Llama, Mistral, Qwen2 and Qwen3 do. What their parts compute is the self-test's business.
    """
    if _children(trunk) != _TRUNK or len(trunk.layers) == 0:
        return False
    if any(type(parameter.data) is not Tensor for parameter in trunk.parameters()):
        return False  # quantised weights bring their own products
    return all(
        _children(layer) == _LAYER
        and _children(layer.mlp) == _MLP
        and _ATTENTION <= _children(layer.self_attn) <= _ATTENTION | _ATTENTION_NORMS
        and all(type(projection) is nn.Linear for projection in _projections(layer))
        for layer in trunk.layers
    )


class ChunkedTrunk:
    """A Llama-shaped trunk, run chunk by chunk.

    Args:
        trunk: a transformers base model for which `is_llama_shaped` holds, in eval mode.
        rows: of a chunk; None for as many as suit the cache.
        product: how linear layers multiply.
        enter: told before products of which rows they are, for products that ask whose those are.
    """

    def __init__(
        self,
        trunk: Any,
        *,
        rows: int | None = None,
        product: MakeProduct = MmProduct,
        enter: EnterRows | None = None,
    ) -> None:
        self._trunk = trunk
        self._products = {
            linear: product(linear) for layer in trunk.layers for linear in _projections(layer)
        }
        # Not by the config: Llama's own layers ignore a `sliding_window` that stands there.
        self._windows = {window.layer: window.asked for window in layer_windows(trunk)}
        self._rows = _rows_for(trunk) if rows is None else rows
        self._enter = enter
        self._rms = all(
            is_rms_norm(norm)
            for layer in trunk.layers
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        )
        config = trunk.config
        self._head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )

    def __call__(self, input_ids: Tensor, tree: TreePlan) -> Tensor:
        """Hidden states that the heads read.

        Args:
            input_ids: (tokens,), int64.
            tree: the pack's plan.

        Returns:
            (reads, hidden), after the final norm.
        """
        trunk = self._trunk
        hidden = trunk.embed_tokens(input_ids)
        cos, sin = (table[0] for table in trunk.rotary_emb(hidden[None], tree.position_ids[None]))
        *layers, last = trunk.layers
        for layer in layers:
            attended = self._attend(layer, hidden, cos, sin, tree)
            self._feed_forward(layer, hidden, attended)
        rows, order = np.unique(tree.pack.read_rows, return_inverse=True)
        if FEW_READS * len(rows) <= len(hidden) and self._sees_all(last, tree):
            attended = self._attend_at(last, hidden, cos, sin, tree, rows)
        else:
            attended = self._attend(last, hidden, cos, sin, tree)[torch.from_numpy(rows)]
        read = hidden[torch.from_numpy(rows)]
        self._feed_forward(last, read, attended, at=rows)
        normed: Tensor = trunk.norm(read)
        return normed[torch.from_numpy(order)]

    def _sees_all(self, layer: Any, tree: TreePlan) -> bool:
        """Whether the layer's window, if it has one, covers every sequence whole."""
        window = self._windows[layer.self_attn]
        return window is None or window >= tree.pack.longest

    def _attend_at(
        self,
        layer: Any,
        hidden: Tensor,
        cos: Tensor,
        sin: Tensor,
        tree: TreePlan,
        rows: NDArray[np.int64],
    ) -> Tensor:
        """The last layer's attention of the rows that are read alone, (rows, heads · head_dim)."""
        attention = layer.self_attn
        key, value = (
            hidden.new_empty(len(hidden), self._products[projection].out_features)
            for projection in (attention.k_proj, attention.v_proj)
        )
        for chunk in self._chunks(len(hidden)):
            normed = self._norm(layer.input_layernorm, hidden[chunk])
            self._products[attention.k_proj].into(normed, key[chunk])
            self._products[attention.v_proj].into(normed, value[chunk])
            self._rotate(key[chunk], getattr(attention, "k_norm", None), cos[chunk], sin[chunk])
        at = torch.from_numpy(rows)
        if self._enter is not None:
            self._enter(slice(0, len(rows)), rows)
        query = self._products[attention.q_proj](layer.input_layernorm(hidden[at]))
        self._rotate(query, getattr(attention, "q_norm", None), cos[at], sin[at])
        keys, values = self._by_head(key), self._by_head(value)
        tree.take(attention, keys, values)
        out = merged_attention_at(
            self._by_head(query),
            keys,
            values,
            tree.pack,
            rows,
            scale=attention.scaling,
            kept=tree.kept_of(attention),
        )
        return out.view(len(rows), -1)

    def _attend(
        self, layer: Any, hidden: Tensor, cos: Tensor, sin: Tensor, tree: TreePlan
    ) -> Tensor:
        """The layer's attention before its output projection, (tokens, heads · head_dim)."""
        attention = layer.self_attn
        query, key, value = (
            hidden.new_empty(len(hidden), self._products[projection].out_features)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        for rows in self._chunks(len(hidden)):
            normed = self._norm(layer.input_layernorm, hidden[rows])
            for projection, out in (
                (attention.q_proj, query),
                (attention.k_proj, key),
                (attention.v_proj, value),
            ):
                self._products[projection].into(normed, out[rows])
            self._rotate(query[rows], getattr(attention, "q_norm", None), cos[rows], sin[rows])
            self._rotate(key[rows], getattr(attention, "k_norm", None), cos[rows], sin[rows])
        out, _ = tree_attention(
            attention,
            self._by_head(query),
            self._by_head(key),
            self._by_head(value),
            None,
            tree=tree,
            scaling=attention.scaling,
            sliding_window=self._windows[attention],
        )
        return out.view(len(hidden), -1)

    def _chunks(self, count: int, at: NDArray[np.int64] | None = None) -> Iterator[slice]:
        """Chunks of so many rows: of the pack, or of those gathered from its rows `at`."""
        for start in range(0, count, self._rows):
            rows = slice(start, min(start + self._rows, count))
            if self._enter is not None:
                self._enter(rows, at)
            yield rows

    def _norm(self, norm: Any, rows: Tensor) -> Tensor:
        """A layer's norm over hidden states, (rows, hidden)."""
        if self._rms:
            return rms_norm(rows, norm.weight, norm.variance_epsilon)
        normed: Tensor = norm(rows)
        return normed

    def _rotate(self, flat: Tensor, norm: Any, cos: Tensor, sin: Tensor) -> None:
        """Rotary position embedding of a chunk, in place: x·cos + rotate_half(x)·sin.

        Source: Su et al. 2021, arXiv:2104.09864, in the layout of transformers' Llama.
        """
        x = flat.view(len(flat), -1, self._head_dim)
        if norm is not None:
            x.copy_(norm(x))
        half = self._head_dim // 2
        first, second = x[..., :half], x[..., half:]
        cos, sin = cos[:, None, :half], sin[:, None, :half]  # both halves of the tables are equal
        turned = first * sin
        first.mul_(cos).addcmul_(second, sin, value=-1)
        second.mul_(cos).add_(turned)

    def _by_head(self, flat: Tensor) -> Tensor:
        """(tokens, heads · head_dim) → (1, heads, tokens, head_dim), without copying."""
        return flat.view(1, len(flat), -1, self._head_dim).transpose(1, 2)

    def _feed_forward(
        self, layer: Any, hidden: Tensor, attended: Tensor, *, at: NDArray[np.int64] | None = None
    ) -> None:
        """The rest of the layer, in place on `hidden`: all rows, or those gathered from `at`."""
        mlp, products = layer.mlp, self._products
        gate, up, down = products[mlp.gate_proj], products[mlp.up_proj], products[mlp.down_proj]
        attention_output = products[layer.self_attn.o_proj]
        for rows in self._chunks(len(hidden), at):
            attention_output.add_to(hidden[rows], attended[rows])
            normed = self._norm(layer.post_attention_layernorm, hidden[rows])
            gated = _activate(mlp.act_fn, gate(normed)).mul_(up(normed))
            down.add_to(hidden[rows], gated)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square normalisation: x / √(mean(x²) + ε) · weight, in three passes over x.

    Args:
        x: (rows, hidden).
        weight: (hidden,).
        epsilon: ε.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467, as transformers' Llama computes it.
    """
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return torch.mul(x, scale).mul_(weight)


def is_rms_norm(norm: Any) -> bool:
    """Whether a norm computes what `rms_norm` does; tried out, as its name proves nothing."""
    epsilon = getattr(norm, "variance_epsilon", None)
    if epsilon is None or norm.weight.dtype != torch.float32:
        return False
    x = torch.linspace(-2, 3, norm.weight.numel())[None]
    with torch.inference_mode():
        return torch.allclose(norm(x), rms_norm(x, norm.weight, epsilon), rtol=1e-5, atol=1e-6)


def _rows_for(trunk: Any) -> int:
    weight: Tensor = trunk.layers[0].mlp.gate_proj.weight
    rows = CHUNK_BYTES // (weight.shape[0] * weight.element_size())
    return max(MIN_ROWS, min(MAX_ROWS, rows))


def _activate(function: Any, gate: Tensor) -> Tensor:
    """The activation function, in place where torch offers that."""
    activated: Tensor = (
        nn.functional.silu(gate, inplace=True)
        if type(function) in {nn.SiLU, SiLUActivation}
        else function(gate)
    )
    return activated


def _projections(layer: Any) -> list[Any]:
    """What must be a plain product: adapters wrap it in more than its weight tells."""
    mlp, attention = layer.mlp, layer.self_attn
    return [mlp.gate_proj, mlp.up_proj, mlp.down_proj] + [
        getattr(attention, name) for name in sorted(_ATTENTION)
    ]


def _children(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}
