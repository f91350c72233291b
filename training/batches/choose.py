"""Which layout a model is trained with: packed wherever that gives its own rewards."""

from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from rm_core.engine.forward.choose import trunk_obstacle
from rm_core.engine.forward.self_test import random_texts, tried
from rm_core.types import Encoded
from training.batches.packed import PackedLayout
from training.batches.padded import BatchLayout, PaddedLayout, bare_model

_PROBE_TOKENS = 80


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
    """
    padded = PaddedLayout(pad_token_id)
    if not packing:
        return ChosenLayout(padded, "packing is switched off")
    bare = bare_model(model)
    obstacle = _obstacle(bare)
    if obstacle is not None:
        return ChosenLayout(padded, obstacle)
    packed = _tried(bare, PackedLayout(max_pack_tokens=max_pack_tokens), padded, bf16=bf16)
    if isinstance(packed, str):
        return ChosenLayout(padded, packed)
    return ChosenLayout(packed, "decoder with replaceable attention")


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
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", _PROBE_TOKENS)
    texts = random_texts(model, min(limit or _PROBE_TOKENS, _PROBE_TOKENS), count=4)
    reads = [sorted({0, text.num_tokens // 2, text.read_position}) for text in texts]

    def rewards(layout: BatchLayout, texts: list[Encoded], reads: list[list[int]]) -> Tensor:
        inputs = layout.collate(texts, reads)
        return layout.rewards(model, send_to_device(inputs, model.device))

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            alone = [rewards(padded, [text], [own]) for text, own in zip(texts, reads, strict=True)]
            return tried(
                lambda: packed,
                lambda made: rewards(made, texts, reads),
                torch.cat(alone),
                exact=model.dtype == torch.float32 and not bf16,
            )
    finally:
        model.train(was_training)
