"""A trunk's last layer, computed only where a head reads: feed-forward half and final norm.

After the last attention nothing mixes rows any more, so rows that no head reads need not go on.
Recognised by the names of a block's parts; the forward's self-test proves each model's result.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from rm_core.engine.attention import TreePlan

Block = Callable[..., Tensor]

_LLAMA = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_GEMMA = _LLAMA | {"pre_feedforward_layernorm", "post_feedforward_layernorm"}


def read_rows_only(trunk: Any) -> bool:
    """Make a trunk's last layer return only the rows that a head reads, in the plan's order.

    Args:
        trunk: a transformers base model that is run with a `tree` keyword, a `TreePlan`.

    Returns:
        False, with nothing changed, where the last layer's form is not known.
    """
    if not can_skip_rows(trunk):
        return False
    layer = trunk.layers[-1]
    layer.forward = _block(layer)  # an instance attribute hides the class's method
    return True


def can_skip_rows(trunk: Any) -> bool:
    """Whether the last layer's form is known, so that `read_rows_only` may be tried."""
    layers = getattr(trunk, "layers", None)
    return isinstance(layers, nn.ModuleList) and bool(layers) and _block(layers[-1]) is not None


def read_all_rows(trunk: Any) -> None:
    """Undo `read_rows_only`, and whatever else stands in place of the layers' own forward."""
    for layer in _layers(trunk):
        vars(layer).pop("forward", None)  # the class's own method shows again


@contextmanager
def reading_all_rows(trunk: Any) -> Iterator[None]:
    """For a while, do as `read_all_rows` does."""
    replaced = [(layer, vars(layer).get("forward")) for layer in _layers(trunk)]
    read_all_rows(trunk)
    try:
        yield
    finally:
        for layer, forward in replaced:
            if forward is not None:
                layer.forward = forward


def _layers(trunk: Any) -> list[nn.Module]:
    lists = [getattr(trunk, name, None) for name in ("layers", "h")]
    return [layer for layers in lists if isinstance(layers, nn.ModuleList) for layer in layers]


def _block(layer: Any) -> Block | None:
    parts = {name for name, _ in layer.named_children()}
    if parts == _LLAMA:
        return _llama(layer)
    if parts == _GEMMA:
        return _gemma(layer)
    return None


def _llama(layer: Any) -> Block:
    """Llama, Qwen2, Qwen3, Mistral: norms before attention and before the feed-forward half."""

    def block(hidden_states: Tensor, *, tree: TreePlan, **kwargs: Any) -> Tensor:
        normed = layer.input_layernorm(hidden_states)
        attended, _ = layer.self_attn(hidden_states=normed, tree=tree, **kwargs)
        hidden = hidden_states[:, tree.read_rows] + attended[:, tree.read_rows]
        out: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return out

    return block


def _gemma(layer: Any) -> Block:
    """Gemma 2: norms before and after both halves."""

    def block(hidden_states: Tensor, *, tree: TreePlan, **kwargs: Any) -> Tensor:
        normed = layer.input_layernorm(hidden_states)
        attended, _ = layer.self_attn(hidden_states=normed, tree=tree, **kwargs)
        attended = layer.post_attention_layernorm(attended[:, tree.read_rows])
        hidden = hidden_states[:, tree.read_rows] + attended
        fed = layer.mlp(layer.pre_feedforward_layernorm(hidden))
        out: Tensor = hidden + layer.post_feedforward_layernorm(fed)
        return out

    return block
