"""Which sliding windows a trunk's attention layers ask for, and whether its masks say the same.

Tree attention makes no masks: a window reaches it only as the layer's own `sliding_window`. A model
that keeps its window in the mask alone would lose it, and no test on short texts would show that.
So a trunk is asked once, on one token, by an attention function that computes nothing and writes
down what it was given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from rm_core.engine.trunk.last_layer import reading_all_rows

_ASKING = "rewardd_windows"

_OTHER_MASK = -1
"""A mask of another form than causal or causal within a window."""


@dataclass(frozen=True, slots=True)
class LayerWindow:
    """What one attention layer was given.

    Attributes:
        layer: the calling module.
        asked: the `sliding_window` that it passes on; None for none.
        masked: the window of the mask that the model made for it; None for a causal one.
    """

    layer: nn.Module
    asked: int | None
    masked: int | None


def layer_windows(model: Any) -> list[LayerWindow]:
    """The windows of a trunk's attention layers, in the order of their calls.

    Args:
        model: a transformers model whose attention can be replaced.

    Raises:
        Exception: whatever the model raises where it does not pass its attention's options on.
    """
    before = model.config._attn_implementation
    found: list[LayerWindow] = []
    one = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    model.set_attn_implementation(_ASKING)
    try:
        with torch.no_grad(), reading_all_rows(model.base_model):
            model.base_model(input_ids=one, position_ids=one, use_cache=False, windows=found)
    finally:
        model.set_attn_implementation(before)
    return found


def hidden_windows(model: Any) -> bool:
    """Whether a layer's window, or another limit to what it sees, is told by its mask alone."""
    return any(
        window.masked is not None and window.masked != window.asked
        for window in layer_windows(model)
    )


def _write_down(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    windows: list[LayerWindow],
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one token, which is its own value; appends to `windows`."""
    del key
    windows.append(LayerWindow(module, sliding_window, _window_in(attention_mask)))
    repeat = query.shape[1] // value.shape[1]
    return value.repeat_interleave(repeat, dim=1).transpose(1, 2), None


def _window_of_mask(
    *, mask_function: Callable[..., Any], local_size: int | None = None, **_: Any
) -> Tensor | None:
    """In place of a mask its window, (1, 1, 1, 1) int64; None for a causal one."""
    if local_size is None:
        return None
    at = [torch.tensor(place) for place in (0, 0, local_size)]
    # The last token within a window and the first outside it; chunks border elsewhere.
    sees = [bool(mask_function(*at, torch.tensor(key))) for key in (1, 0)]
    return torch.full((1, 1, 1, 1), local_size if sees == [True, False] else _OTHER_MASK)


def _window_in(mask: Tensor | None) -> int | None:
    """The window that `_window_of_mask` wrote; what a layer adds to its mask is none."""
    if mask is None:
        return None
    return int(mask) if mask.numel() == 1 and mask.dtype == torch.long else _OTHER_MASK


AttentionInterface.register(_ASKING, _write_down)
AttentionMaskInterface.register(_ASKING, _window_of_mask)
