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

from rm_core.engine.attention import TreePlan, tree_attention, tree_attention_at
from rm_core.engine.native import NativeLibrary
from rm_core.engine.trunk.elementwise import NativeElementwise, TorchElementwise, is_rms_norm
from rm_core.engine.trunk.products.base import EnterRows, MakeProduct
from rm_core.engine.trunk.products.fixed_shapes import FixedShapes
from rm_core.engine.trunk.products.mm import MmProduct
from rm_core.engine.trunk.rotary import angles_by_position
from rm_core.engine.trunk.row_shapes import SIZES, RowShapes, random_row, tried_shapes
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
        native: takes what lies between products where the trunk is float32; None for torch.
        deterministic: whether a row has the same bits in any company: chunks have fixed sizes, and
            attention goes by path.

    Raises:
        PlaceMatters: `deterministic` is asked for, and this machine's kernels round a row by its
            place.
    """

    def __init__(
        self,
        trunk: Any,
        *,
        rows: int | None = None,
        product: MakeProduct = MmProduct,
        enter: EnterRows | None = None,
        deterministic: bool = False,
        native: NativeLibrary | None = None,
    ) -> None:
        product = FixedShapes(product) if deterministic else product
        self._trunk = trunk
        self._steps = TorchElementwise() if native is None else NativeElementwise(native)
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
        self.shares_exactly = deterministic
        self._shapes: RowShapes | None = None
        if deterministic:
            self._shapes = self._tried_shapes()

    @torch.inference_mode()
    def _tried_shapes(self) -> RowShapes:
        """The sizes of chunks in which all that a layer does to a row gives it the same bits."""
        layer = self._trunk.layers[0]
        weight: Tensor = layer.self_attn.q_proj.weight
        angles = random_row(self._head_dim, weight.dtype)

        def half_layers(rows: Tensor) -> Tensor:
            self._shapes = RowShapes((len(rows),))
            cos, sin = (angle.repeat(len(rows), 1) for angle in (angles.cos(), angles.sin()))
            projected = self._projected(layer, rows, cos, sin, "qkv")
            self._feed_forward(layer, rows, projected[0])
            return torch.cat([*projected, rows], dim=1)

        sizes = [size for size in SIZES if size <= max(self._rows, SIZES[-1])]
        return tried_shapes(half_layers, random_row(weight.shape[1], weight.dtype), sizes)

    def __call__(self, input_ids: Tensor, tree: TreePlan) -> Tensor:
        """Hidden states that the heads read.

        Args:
            input_ids: (tokens,), int64.
            tree: the pack's plan.

        Returns:
            (reads, hidden), after the final norm.
        """
        trunk = self._trunk
        positions = self._filled(tree.position_ids)
        hidden = trunk.embed_tokens(self._filled(input_ids))
        cos, sin = self._angles(hidden, positions, tree)
        *layers, last = trunk.layers
        for layer in layers:
            attended = self._attend(layer, hidden, cos, sin, tree)
            self._feed_forward(layer, hidden, attended)
        rows, order = np.unique(tree.pack.read_rows, return_inverse=True)
        at = self._filled(torch.from_numpy(rows))
        if FEW_READS * len(rows) <= len(hidden) and self._can_attend_at(last, tree):
            attended = self._attend_at(last, hidden, cos, sin, tree, rows)
        else:
            attended = self._attend(last, hidden, cos, sin, tree)[at]
        read = hidden[at]
        self._feed_forward(last, read, attended, at=rows)
        normed = [trunk.norm(read[chunk]) for chunk in self._cut(len(read))]
        return torch.cat(normed)[torch.from_numpy(order)]

    def _chunks(self, count: int, at: NDArray[np.int64] | None = None) -> Iterator[slice]:
        """Chunks of so many rows: of the pack, or of those gathered from its rows `at`."""
        for rows in self._cut(count):
            if self._enter is not None:
                self._enter(rows, at)
            yield rows

    def _cut(self, count: int) -> list[slice]:
        if self._shapes is not None:
            return self._shapes.cut(count)
        step = self._rows
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def _filled(self, indices: Tensor) -> Tensor:
        """Row indices, or ids, with zeros behind them where chunks have fixed sizes."""
        missing = 0 if self._shapes is None else self._shapes.padded(len(indices)) - len(indices)
        return nn.functional.pad(indices, (0, missing)) if missing else indices

    def _angles(self, hidden: Tensor, positions: Tensor, tree: TreePlan) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding, (rows, head_dim) each."""
        if self._shapes is not None:
            return angles_by_position(self._trunk.rotary_emb, hidden, positions, tree.pack.longest)
        cos, sin = self._trunk.rotary_emb(hidden[None], positions[None])
        return cos[0], sin[0]

    def _can_attend_at(self, layer: Any, tree: TreePlan) -> bool:
        """Whether a few rows' attention can be had alone."""
        window = self._windows[layer.self_attn]
        return tree.by_path or window is None or window >= tree.pack.longest

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
        key, value = self._projected(layer, hidden, cos, sin, "kv")
        at = self._filled(torch.from_numpy(rows))
        (query,) = self._projected(layer, hidden[at], cos[at], sin[at], "q", rows)
        keys, values = self._by_head(key), self._by_head(value)
        tree.take(attention, keys, values)
        out = tree_attention_at(
            attention,
            self._by_head(query),
            keys,
            values,
            rows,
            tree=tree,
            scaling=attention.scaling,
            sliding_window=self._windows[attention],
        )
        return out.view(len(at), -1)

    def _attend(
        self, layer: Any, hidden: Tensor, cos: Tensor, sin: Tensor, tree: TreePlan
    ) -> Tensor:
        """The layer's attention before its output projection, (tokens, heads · head_dim)."""
        attention = layer.self_attn
        query, key, value = self._projected(layer, hidden, cos, sin, "qkv")
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

    def _projected(
        self,
        layer: Any,
        hidden: Tensor,
        cos: Tensor,
        sin: Tensor,
        which: str,
        at: NDArray[np.int64] | None = None,
    ) -> list[Tensor]:
        """Those of queries, keys and values that are asked for by "q", "k" and "v", rotated.

        Returns:
            (rows, heads · head_dim) each.
        """
        attention = layer.self_attn
        products = [self._products[getattr(attention, f"{name}_proj")] for name in which]
        outs = [hidden.new_empty(len(hidden), product.out_features) for product in products]
        for rows in self._chunks(len(hidden), at):
            normed = self._norm(layer.input_layernorm, hidden[rows])
            for name, product, out in zip(which, products, outs, strict=True):
                product.into(normed, out[rows])
                if name != "v":
                    norm = getattr(attention, f"{name}_norm", None)
                    self._rotate(out[rows], norm, cos[rows], sin[rows])
        return outs

    def _norm(self, norm: Any, rows: Tensor) -> Tensor:
        """A layer's norm over hidden states, (rows, hidden)."""
        if self._rms:
            return self._steps.rms_norm(rows, norm.weight, norm.variance_epsilon)
        normed: Tensor = norm(rows)
        return normed

    def _rotate(self, flat: Tensor, norm: Any, cos: Tensor, sin: Tensor) -> None:
        """Rotary position embedding of a chunk, in place, after the layer's norm if it has one."""
        if norm is not None:
            x = flat.view(len(flat), -1, self._head_dim)
            x.copy_(norm(x))
        self._steps.rotate(flat, cos, sin)

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
            gated = self._steps.gate(mlp.act_fn, gate(normed), up(normed))
            down.add_to(hidden[rows], gated)


def chunk_rows(trunk: Any) -> int | None:
    """Rows of a chunk that suit the cache; None where the trunk is not run in chunks."""
    return _rows_for(trunk) if is_llama_shaped(trunk) else None


def _rows_for(trunk: Any) -> int:
    weight: Tensor = trunk.layers[0].mlp.gate_proj.weight
    rows = CHUNK_BYTES // (weight.shape[0] * weight.element_size())
    return max(MIN_ROWS, min(MAX_ROWS, rows))


def _projections(layer: Any) -> list[Any]:
    """What must be a plain product: adapters wrap it in more than its weight tells."""
    mlp, attention = layer.mlp, layer.self_attn
    return [mlp.gate_proj, mlp.up_proj, mlp.down_proj] + [
        getattr(attention, name) for name in sorted(_ATTENTION)
    ]


def _children(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()}
