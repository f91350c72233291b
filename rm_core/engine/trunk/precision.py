"""Reduced precision on the CPU, and what it costs in reward, measured where it is switched on.

bfloat16 pays on processors with matrix units for it (AMX), int8 on those with dot products for it
(VNNI); on others both are slower than float32. How much a reward moves depends on the model, so it
is measured on that model when it is loaded, and told in the log and in /v1/info.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from rm_core.checkpoint.heads import has_head_on_tokens
from rm_core.errors import ConfigurationError

Precision = Literal["float32", "bfloat16", "float16", "int8"]


@dataclass(frozen=True, slots=True)
class PrecisionError:
    """How far rewards in reduced precision lie from float32's, on random texts.

    Attributes:
        largest: greatest absolute difference, in reward units.
        mean: mean absolute difference.
        spread: standard deviation of the float32 rewards, to compare with.
        texts: how many were scored.
    """

    largest: float
    mean: float
    spread: float
    texts: int


def reduce_precision(model: Any, precision: Precision) -> None:
    """Convert a trunk's weights in place; a decoder's head stays in float32, others go with it.

    Args:
        model: a float32 model for sequence classification, on the CPU.
        precision: "int8" keeps weights as int8 by output channel and quantises activations by
            token as they come (torchao); the others convert everything.

    Raises:
        ConfigurationError: int8 without torchao.
    """
    if precision == "int8":
        _quantise(model.base_model)
    elif precision != "float32":
        part = model.base_model if has_head_on_tokens(model) else model
        for parameter in part.parameters():
            # Parameters alone: the rotary frequencies are a buffer, and rounding them turns far
            # positions by a wrong angle; transformers keeps them in float32 as well.
            parameter.data = parameter.data.to(getattr(torch, precision))


def _quantise(trunk: Any) -> None:
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError as error:
        raise ConfigurationError(
            "dtype int8 needs torchao; install it with: pip install 'rewardd[int8]'"
        ) from error
    quantize_(trunk, Int8DynamicActivationInt8WeightConfig())


def precision_error(
    full: Sequence[Sequence[float]], reduced: Sequence[Sequence[float]]
) -> PrecisionError:
    """Compare rewards of the same texts.

    Args:
        full: in float32, (texts, heads).
        reduced: in reduced precision, (texts, heads).
    """
    exact = torch.tensor(full, dtype=torch.float64)
    difference = (torch.tensor(reduced, dtype=torch.float64) - exact).abs()
    return PrecisionError(
        largest=float(difference.max()),
        mean=float(difference.mean()),
        spread=float(exact.std(dim=0).mean()),
        texts=len(full),
    )
