"""Which layout a model is trained with: packed wherever that gives its own rewards."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rm_core.engine.forward.base import (
    REDUCED_PRECISION_TOLERANCE,
    SELF_TEST_TOLERANCE,
    random_texts,
)
from rm_core.engine.forward.choose import trunk_obstacle
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
    if obstacle is None:
        packed = PackedLayout(max_pack_tokens=max_pack_tokens)
        obstacle = _failed_trial(bare, packed, padded, bf16=bf16)
        if obstacle is None:
            return ChosenLayout(packed, "decoder with replaceable attention")
    return ChosenLayout(padded, obstacle)


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


def _failed_trial(
    model: Any, packed: PackedLayout, padded: PaddedLayout, *, bf16: bool
) -> str | None:
    """What is wrong with the packed rewards of random texts; None: nothing."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", _PROBE_TOKENS)
    texts = random_texts(model, min(limit or _PROBE_TOKENS, _PROBE_TOKENS), count=4)
    reads = [sorted({0, text.num_tokens // 2, text.read_position}) for text in texts]
    device = model.device
    autocast = torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast:
            alone = []
            for text, own in zip(texts, reads, strict=True):
                inputs = padded.collate([text], [own])
                alone.append(padded.rewards(model, {k: v.to(device) for k, v in inputs.items()}))
            inputs = packed.collate(texts, reads)
            inputs["input_ids"] = inputs["input_ids"].to(device)
            found = packed.rewards(model, inputs)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        return f"the packed way raised {type(error).__name__}"
    finally:
        model.train(was_training)
    expected = torch.cat(alone)
    worst = float(((found - expected).abs() / (1 + expected.abs())).max())
    exact = model.dtype == torch.float32 and not bf16
    tolerance = SELF_TEST_TOLERANCE if exact else REDUCED_PRECISION_TOLERANCE
    if worst <= tolerance:  # false for NaN
        return None
    return f"packed rewards differ by {worst:.1e} from those of each text alone"
