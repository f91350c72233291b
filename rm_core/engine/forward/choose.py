"""The choice of a model's forward pass: packed without padding, or padded where it must be.

`packed` is the way for models whose attention transformers lets us replace: decoders over trees of
shared prefixes, encoders over texts end to end. `padded` serves every other model. `choose_forward`
decides by looking and then by trying: a model goes a packed way only if its packed rewards equal
those of each text alone by transformers' own path.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import has_head_on_tokens
from rm_core.checkpoint.load import RewardModel
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.by_length import LengthClassForward, class_borders
from rm_core.engine.forward.compiled import compiled_packed
from rm_core.engine.forward.encoder import EncoderRows, encoder_rows
from rm_core.engine.forward.packed import PackedForward, fastest_packed
from rm_core.engine.forward.padded import PaddedForward
from rm_core.engine.forward.self_test import TRIAL_ERRORS, random_texts, tried
from rm_core.engine.trunk.last_layer import read_all_rows
from rm_core.engine.trunk.sliding_window import hidden_windows
from rm_core.errors import ConfigurationError


def choose_forward(
    reward_model: RewardModel,
    heads: Sequence[Linear] = (),
    *,
    reduced: bool = False,
    deterministic: bool = False,
    compile_layers: bool = False,
) -> Forward:
    """The fastest way that gives the model's own rewards.

    Args:
        reward_model: the checkpoint whose trunk is run.
        heads: further heads on the same trunk.
        reduced: whether the trunk was reduced in precision, so that the two ways round differently.
        deterministic: whether a text must get the same bits in any company.
        compile_layers: whether torch compiles the layers; where it can't, they run as they are.

    Raises:
        ConfigurationError: `deterministic` is asked of a model that can't run packed.
    """
    model = reward_model.model
    makers: list[Callable[[], PackedForward | EncoderRows]] = []
    if not has_head_on_tokens(model):
        makers.append(partial(encoder_rows, model, heads=heads))
    else:
        if compile_layers:
            makers.append(partial(compiled_packed, model, heads=heads))
        makers.append(partial(fastest_packed, model, heads=heads, deterministic=deterministic))
    forward = _first_that_agrees(reward_model, heads, makers, reduced=reduced)
    if deterministic and not isinstance(forward, PackedForward):
        raise ConfigurationError(
            f"{reward_model.profile.name} can't run deterministically: {forward.reason}; "
            "unset `deterministic`"
        )
    borders = class_borders(model.config)
    if any(border < reward_model.profile.max_length for border in borders):
        return LengthClassForward(forward, borders)
    return forward


def _first_that_agrees(
    reward_model: RewardModel,
    heads: Sequence[Linear],
    makers: Sequence[Callable[[], PackedForward | EncoderRows]],
    *,
    reduced: bool,
) -> PackedForward | EncoderRows | PaddedForward:
    """The first packed way whose rewards are those of each text alone; else the padded way."""
    model = reward_model.model
    obstacle = trunk_obstacle(model)
    if obstacle is not None:
        return PaddedForward(model, heads=heads, reason=obstacle)
    probe = random_texts(model, reward_model.profile.max_length, count=4)
    padded = PaddedForward(model, heads=heads, reason="the packed way failed its self-test")
    alone = torch.tensor([padded.rewards([text])[0] for text in probe])
    exact = model.dtype == torch.float32 and not reduced
    original = model.config._attn_implementation
    failures: list[str] = []
    for make in makers:
        packed = tried(make, lambda made: torch.tensor(made.rewards(probe)), alone, exact=exact)
        if not isinstance(packed, str):
            packed.reason = "; ".join(
                [packed.reason, *(f"not compiled, as {why}" for why in failures)]
            )
            return packed
        failures.append(packed)
    padded.reason = failures[-1]
    run_by_transformers(model, original)
    return padded


def run_by_transformers(model: Any, attention: str) -> None:
    """Give a model that was run packed back to transformers.

    Args:
        model: as `choose_forward` was given it.
        attention: the implementation that its config named before.
    """
    model.set_attn_implementation(attention)
    read_all_rows(model.base_model)
    for parameter in model.base_model.parameters():
        if type(parameter.data) is Tensor:  # quantised weights have layouts of their own
            parameter.data = parameter.data.contiguous()


def trunk_obstacle(model: Any) -> str | None:
    """Why a model's trunk can't be run packed, whatever reads it; None where it may be tried.

    Args:
        model: a transformers model for sequence classification.
    """
    if model.config.is_encoder_decoder:
        return "encoder-decoder model"
    if not getattr(model.base_model, "_supports_attention_backend", False):
        return "its attention can't be replaced"
    try:
        hidden = hidden_windows(model)
    except TRIAL_ERRORS as error:
        return f"the packed way raised {type(error).__name__}"
    return "what its attention sees stands in its masks alone" if hidden else None
