"""A reward head's constant, which transformers' sequence classifiers of decoders have no place for.

Value heads of TRL and LLaMA-Factory are linear layers with a bias. Their checkpoints, converted,
carry it as `score.bias` beside `score.weight`; plain transformers leaves it out when it loads them,
and every reward is off by that constant. What loads a reward model of ours puts it back.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rm_core.errors import CheckpointError

HEAD_BIAS = "score.bias"


def read_head_bias(directory: Path) -> Tensor | None:
    """The bias that a full checkpoint carries for its `score` head, (1,); None without one.

    Raises:
        CheckpointError: it is not one number, or a file can't be read.
    """
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                found = HEAD_BIAS in file.keys()  # noqa: SIM118 - not a mapping
                bias: Tensor | None = file.get_tensor(HEAD_BIAS) if found else None
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"can't load {path}: {error}") from error
        if bias is not None and bias.shape != (1,):
            raise CheckpointError(
                f"{path} has a {HEAD_BIAS} of shape {tuple(bias.shape)}; a reward head has one "
                "output"
            )
        if bias is not None:
            return bias
    return None


def give_bias(head: Any, bias: Tensor) -> None:
    """Let a linear head without a bias add one; a head that has its own takes the value.

    Args:
        head: the model's `score`, a linear layer with one output; changed in place.
        bias: (1,), any float dtype.

    Raises:
        CheckpointError: the model has no linear `score`, so that the constant has no place.
    """
    if not isinstance(head, nn.Linear):
        raise CheckpointError(
            f"the checkpoint carries {HEAD_BIAS}, but the architecture has no linear `score`"
        )
    value = bias.detach().to(device=head.weight.device, dtype=head.weight.dtype)
    if not torch.isfinite(value).all():
        raise CheckpointError(f"{HEAD_BIAS} is not a finite number")
    head.bias = nn.Parameter(value.clone(), requires_grad=head.weight.requires_grad)
