"""What a loaded checkpoint can be seen to be worth: a head that says something, a text that counts.

Each of these loads, answers every request, and would teach a policy nothing or worse.
"""

from typing import TYPE_CHECKING, Any

import torch

from rm_core.checkpoint.heads import HiddenLayerHead, head_of
from rm_core.errors import InputError, UnsoundModel
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue

if TYPE_CHECKING:
    from torch.nn import Linear

_RESPONSES = ("Paris.", "I don't know; ask somebody else!", "42 zebras, 7 quinces & (a) jumpy vow")


def refuse_unsound_head(name: str, model: Any) -> None:
    """Refuse a head that gives one reward to every text, or none.

    Args:
        name: of the checkpoint, for the message.
        model: transformers' model with a head of one output.

    Raises:
        UnsoundModel: it holds NaN or infinity, or the weights of its last layer are all 0.
    """
    head = head_of(model)
    if not all(bool(torch.isfinite(own.float()).all()) for own in head.parameters()):
        raise UnsoundModel(
            f"{name} has a reward head that is not finite (NaN or infinity): training diverged, "
            "or the file is damaged: take an earlier one"
        )
    last: Linear = head.last if isinstance(head, HiddenLayerHead) else head
    if not bool(last.weight.any()):
        raise UnsoundModel(
            f"{name} has a reward head whose weights are all 0, which gives every text the same "
            "reward; it was never trained, or never saved"
        )


def refuse_deaf(name: str, encoder: TextEncoder) -> None:
    """Refuse a checkpoint that reads the same tokens whatever the response says.

    Args:
        name: of the checkpoint, for the message.
        encoder: text to ids.

    Raises:
        UnsoundModel: it does: its chat template leaves the response out, or its tokenizer knows
            nothing of it.
    """
    read = set()
    for response in _RESPONSES:
        try:
            found = encoder.encode(Dialogue("Where is the Eiffel tower?", response))
        except InputError:  # it wants other messages, or shorter ones: then nothing can be told
            return
        read.add(found.input_ids)
    if len(read) == 1:
        raise UnsoundModel(
            f"{name} reads the same tokens whatever the response is: its chat template or its "
            "tokenizer leaves the text out; fetch the tokenizer's files again"
        )
