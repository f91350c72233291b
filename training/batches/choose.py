"""Which layout a model is trained with: packed wherever that gives its own rewards, else padded.

What is trained must be what is served, which is the reward of a text alone. A model that rewards a
text otherwise beside longer ones, or after others, is refused here: its batches would teach it
another function.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from rm_core.engine.forward.choose import trunk_obstacle
from rm_core.engine.forward.self_test import (
    LONG_TEXTS,
    is_read_whole,
    random_texts,
    texts_of_lengths,
    told,
    tried,
)
from rm_core.engine.trunk.kept_state import KeptState
from rm_core.engine.trunk.room import room_of
from rm_core.errors import ConfigurationError
from rm_core.types import Encoded
from training.batches.packed import PackedLayout
from training.batches.padded import BatchLayout, PaddedLayout, bare_model

_PROBE_TOKENS = 80
_PADDED_PROBES = (80, 37, 53)
"""Lengths of the texts that are padded together; none so short that some model can't read it."""


@dataclass(frozen=True, slots=True)
class ChosenLayout:
    """A layout, and why it was taken.

    Attributes:
        layout: how batches go through the model.
        reason: for the log and the manifest.
    """

    layout: BatchLayout
    reason: str

    def to_json(self) -> dict[str, str]:
        """As JSON values, for the manifest."""
        return {"name": self.layout.name, "reason": self.reason}


def choose_layout(
    model: Any,
    pad_token_id: int,
    *,
    packing: bool = True,
    max_pack_tokens: int = 0,
    bf16: bool = False,
) -> ChosenLayout:
    """Packed where the model can be run so and then gives its own rewards, else padded.

    As the engine does, by looking and then by trying: rewards of random texts packed are compared
    with those of each text alone.

    Args:
        model: a sequence-classification model with one label, as it will be trained: dropout set,
            peft's layers in place, not yet wrapped for several devices.
        pad_token_id: the model's pad token.
        packing: False: padded.
        max_pack_tokens: see `PackedLayout`.
        bf16: whether the training's forward pass runs in bfloat16 autocast.

    Raises:
        ConfigurationError: padded rewards are not those of each text alone either.
    """
    padded = PaddedLayout(pad_token_id)
    bare = bare_model(model)
    reason = _obstacle(bare) if packing else "packing is switched off"
    if reason is None:
        packed = _tried(bare, PackedLayout(max_pack_tokens=max_pack_tokens), padded, bf16=bf16)
        if not isinstance(packed, str):
            return ChosenLayout(packed, "decoder with replaceable attention")
        reason = packed
    _refuse_unequal(bare, padded, bf16=bf16)
    return ChosenLayout(padded, reason)


def _obstacle(model: Any) -> str | None:
    if not isinstance(getattr(model, "score", None), nn.Module):
        return "not a decoder with a linear score head"
    if _has_attention_dropout(model):
        return "its attention has dropout, which ours has not; disable_dropout = true packs it"
    return trunk_obstacle(model)


def _has_attention_dropout(model: Any) -> bool:
    """Dropout on attention's weights, by the names that transformers gives it."""
    for name, module in model.named_modules():
        own = name.rpartition(".")[2]
        if isinstance(module, nn.Dropout) and own.startswith("att") and module.p > 0:
            return True
        probability = getattr(module, "attention_dropout", 0.0)
        if isinstance(probability, float) and probability > 0:
            return True
    return False


def _tried(
    model: Any, packed: PackedLayout, padded: PaddedLayout, *, bf16: bool
) -> PackedLayout | str:
    """The packed layout, or what is wrong with its rewards of random texts."""
    texts = random_texts(model, _probe_tokens(model, _PROBE_TOKENS), count=4)
    reads = [sorted({0, text.num_tokens // 2, text.read_position}) for text in texts]
    with _as_evaluated(model, bf16=bf16):
        alone = [
            _rewards(model, padded, [text], [own]) for text, own in zip(texts, reads, strict=True)
        ]
        return tried(
            lambda: packed,
            lambda made: _rewards(model, made, texts, reads),
            torch.cat(alone),
            exact=_is_exact(model, bf16=bf16),
        )


def _refuse_unequal(model: Any, padded: PaddedLayout, *, bf16: bool) -> None:
    """Refuse a model whose padded rewards of random texts are not those of each alone.

    Raises:
        ConfigurationError: they are not, or its rewards depend on the texts before.
    """
    lengths = (*_PADDED_PROBES, *(LONG_TEXTS if is_read_whole(model) else ()))
    room = _probe_tokens(model, max(lengths))
    texts = texts_of_lengths(model, [min(length, room) for length in lengths])
    reads = [[text.read_position] for text in texts]
    fresh = KeptState(model)
    with _as_evaluated(model, bf16=bf16):
        try:
            pairs = zip(texts, reads, strict=True)
            alone = torch.cat([_rewards(model, padded, [text], [own]) for text, own in pairs])
        except Exception as error:  # models raise what they like
            made: PaddedLayout | str = f"it raised {told(error)}"
        else:
            if not torch.isfinite(alone).all():
                return  # no number is equal to these: the first update says what to do
            made = tried(
                lambda: padded,
                lambda made: _rewards(model, made, texts, reads),
                alone,
                exact=_is_exact(model, bf16=bf16),
                way="padded",
            )
    if not isinstance(made, str) and fresh.has_changed():
        made = "it keeps something of the texts before, on which rewards then depend"
    if isinstance(made, str):
        raise ConfigurationError(
            f"{type(model).__name__} can't be trained in batches: {made}; train another "
            "architecture, a decoder for one"
        )


def _rewards(
    model: Any, layout: BatchLayout, texts: list[Encoded], reads: list[list[int]]
) -> Tensor:
    inputs = layout.collate(texts, reads)
    return layout.rewards(model, send_to_device(inputs, model.device))


def _probe_tokens(model: Any, wanted: int) -> int:
    """So many tokens, or as many as the model has room for."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    promised = limit if isinstance(limit, int) and limit > 0 else wanted  # XLNet's is -1
    return room_of(model, min(promised, wanted))


def _is_exact(model: Any, *, bf16: bool) -> bool:
    """Whether all of it computes in float32."""
    is_quantised = getattr(model, "is_quantized", False)
    return model.dtype == torch.float32 and not bf16 and not is_quantised


@contextmanager
def _as_evaluated(model: Any, *, bf16: bool) -> Iterator[None]:
    """Without dropout and gradients, in the training's precision; the model is left as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            yield
    finally:
        model.train(was_training)
