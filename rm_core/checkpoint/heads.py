"""From hidden states to rewards: linear scalar heads, always in float32.

A head is tiny and its rounding would be the reward's own, so it is never run in the trunk's reduced
precision. Heads on one trunk are stacked into one product.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import Linear
from torch.nn.functional import linear

from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels


def head_of(model: Any) -> Linear:
    """The linear map from what a model makes of a text to the reward.

    Args:
        model: for sequence classification with one label; a decoder's head is its `score`, an
            encoder's the last layer of what stands on its trunk.

    Raises:
        MissingHead: the architecture ends in no linear layer with one output.
    """
    trunk = f"{model.base_model_prefix}."
    heads = [
        module
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module.out_features == 1 and not name.startswith(trunk)
    ]
    if not heads:
        raise MissingHead(f"{type(model).__name__} has no linear head with one output")
    return heads[-1]


def has_head_on_tokens(model: Any) -> bool:
    """Whether a linear head reads any token's hidden state as it comes from the trunk: decoders."""
    return isinstance(getattr(model, "score", None), Linear)


class ScalarHeads:
    """One or more scalar heads that read the same hidden states.

    Args:
        heads: layers of shape (1, hidden), with or without bias.

    Raises:
        WrongNumLabels: a head has more than one output.
    """

    def __init__(self, heads: Sequence[Linear]) -> None:
        for head in heads:
            if head.out_features != 1:
                raise WrongNumLabels(f"a reward head has 1 output, this one {head.out_features}")
        self._weight = torch.cat([head.weight.detach().float() for head in heads])
        biases: list[Tensor | None] = [head.bias for head in heads]
        self._bias = torch.cat(
            [
                self._weight.new_zeros(1) if bias is None else bias.detach().float()
                for bias in biases
            ]
        )

    def linear(self, hidden: Tensor) -> Tensor:
        """Raw rewards as a tensor: (texts, hidden) float32 → (texts, heads) float32."""
        return linear(hidden, self._weight, self._bias)

    def __call__(self, hidden: Tensor) -> list[list[float]]:
        """Raw rewards of read positions.

        Args:
            hidden: (texts, hidden), any float dtype.

        Returns:
            (texts, heads), float32 values.
        """
        rewards: list[list[float]] = self.linear(hidden.float()).tolist()
        return rewards


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
