"""From hidden states to rewards: scalar heads, always in float32.

A head is tiny and its rounding would be the reward's own, so it is never run in the trunk's reduced
precision. Linear heads on one trunk are stacked into one product, and so are the last layers of
those whose hidden layers are the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Linear
from torch.nn.functional import linear

from rm_core.checkpoint.weights import Stored, read_tensor
from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}
"""What may stand between a head's layers, by torch's own names; GELU is the exact one."""


class HiddenLayerHead(nn.Sequential):
    """A head with hidden layers: linear layers with one activation between them.

    It has one output, or one a label.

    Args:
        layers: each one's weight, (outputs, inputs), and bias, (outputs,); any float dtype.
        activation: a name of `ACTIVATIONS`.

    Raises:
        CheckpointError: no such activation, or layers that don't fit each other.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor | None]], activation: str) -> None:
        if activation not in ACTIVATIONS:
            raise CheckpointError(
                f"{activation!r} is no activation of a head that rewardd knows; it knows "
                f"{', '.join(ACTIVATIONS)}"
            )
        modules: list[nn.Module] = []
        for weight, bias in layers:
            modules += [_linear(weight, bias), ACTIVATIONS[activation]()]
        super().__init__(*modules[:-1])
        self.activation = activation
        self.in_features = int(layers[0][0].shape[1])
        self.out_features = int(layers[-1][0].shape[0])

    @property
    def hidden(self) -> nn.Sequential:
        """All of it but its last layer: (…, in_features) → (…, width of the last layer)."""
        return nn.Sequential(*list(self)[:-1])

    @property
    def last(self) -> Linear:
        """Its last layer."""
        layer = self[-1]
        assert isinstance(layer, Linear)  # noqa: S101 (made so)
        return layer

    def label(self, index: int) -> "HiddenLayerHead":
        """The head of one of its labels, on the same hidden layers."""
        layers = [layer for layer in self if isinstance(layer, Linear)]
        parts = [(layer.weight, _given_bias(layer)) for layer in layers]
        weight, bias = parts[-1]
        own = slice(index, index + 1)
        parts[-1] = (weight[own].clone(), None if bias is None else bias[own].clone())
        return HiddenLayerHead(parts, self.activation)

    def shares_hidden_layers(self, other: "HiddenLayerHead") -> bool:
        """Whether another head's hidden layers are equal to the bit."""
        one, two = self.hidden.state_dict(), other.hidden.state_dict()
        return (
            self.activation == other.activation
            and one.keys() == two.keys()
            and all(torch.equal(tensor, two[name]) for name, tensor in one.items())
        )


def _linear(weight: Tensor, bias: Tensor | None) -> Linear:
    """A linear layer of given weights, in float32."""
    if bias is not None and bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"a layer of the head has a weight of shape {tuple(weight.shape)} and a bias of "
            f"{tuple(bias.shape)}"
        )
    for tensor in (weight, bias):
        if tensor is not None and not torch.isfinite(tensor.float()).all():
            raise CheckpointError("the head's layers hold NaN or infinity")
    layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().float(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().float(), requires_grad=False)
    return layer


ScalarHead = Linear | HiddenLayerHead
"""What gives one number for a hidden state."""


def head_of(model: Any) -> Any:
    """The map from what a model makes of a text to the reward: a `ScalarHead`.

    Args:
        model: for sequence classification with one label; a decoder's head is its `score`, an
            encoder's the last layer of what stands on its trunk.

    Raises:
        MissingHead: the architecture ends in no linear layer with one output.
    """
    if isinstance(getattr(model, "score", None), HiddenLayerHead):
        return model.score
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
    """Whether the head reads any token's hidden state as it comes from the trunk: decoders."""
    return isinstance(getattr(model, "score", None), ScalarHead)


class ScalarHeads:
    """One or more scalar heads that read the same hidden states.

    Args:
        heads: with one output each; linear ones with or without bias.

    Raises:
        WrongNumLabels: a head has more than one output.
    """

    def __init__(self, heads: Sequence[ScalarHead]) -> None:
        for head in heads:
            if head.out_features != 1:
                raise WrongNumLabels(f"a reward head has 1 output, this one {head.out_features}")
        flat = [head for head in heads if isinstance(head, Linear)]
        by_hidden: list[list[HiddenLayerHead]] = []
        for head in (head.float() for head in heads if isinstance(head, HiddenLayerHead)):
            alike = next((own for own in by_hidden if own[0].shares_hidden_layers(head)), None)
            if alike is None:
                by_hidden.append([head])
            else:
                alike.append(head)
        self._products: list[tuple[nn.Sequential | None, Tensor, Tensor]]
        self._products = [(None, *_stacked(flat))] if flat else []
        self._products += [(own[0].hidden, *_stacked([h.last for h in own])) for own in by_hidden]
        order = [*flat, *(head for own in by_hidden for head in own)]
        self._columns = [next(i for i, own in enumerate(order) if own is head) for head in heads]

    def evaluate(self, hidden: Tensor) -> Tensor:
        """Raw rewards as a tensor: (texts, hidden) float32 → (texts, heads) float32."""
        found = [
            linear(hidden if before is None else before(hidden), weight, bias)
            for before, weight, bias in self._products
        ]
        if self._columns == list(range(len(self._columns))):
            return found[0] if len(found) == 1 else torch.cat(found, dim=-1)
        return torch.cat(found, dim=-1)[..., self._columns]

    def __call__(self, hidden: Tensor) -> list[list[float]]:
        """Raw rewards of read positions.

        Args:
            hidden: (texts, hidden), any float dtype.

        Returns:
            (texts, heads), float32 values.
        """
        rewards: list[list[float]] = self.evaluate(hidden.float()).tolist()
        return rewards


def _stacked(layers: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """The weights and biases of layers with one output each, as those of one layer, float32."""
    return (
        torch.cat([layer.weight.detach().float() for layer in layers]),
        torch.cat([_bias_of(layer) for layer in layers]),
    )


def _bias_of(head: Linear) -> Tensor:
    bias = _given_bias(head)
    return head.weight.new_zeros(1).float() if bias is None else bias.detach().float()


def _given_bias(layer: Linear) -> Tensor | None:
    bias: Tensor | None = layer.bias  # absent in torch's annotation, and None in most decoders
    return bias


HEAD_BIAS = "score.bias"


def read_head_bias(stored: Stored, *, outputs: int = 1) -> Tensor | None:
    """The bias that a full checkpoint carries for its `score` head, (outputs,); None without one.

    Args:
        stored: the tensors of the files that are read.
        outputs: of the head.

    Raises:
        CheckpointError: it is not one number an output, or a file can't be read.
    """
    if HEAD_BIAS not in stored:
        return None
    bias = read_tensor(stored[HEAD_BIAS])
    if bias.shape != (outputs,):
        wanted = "one output" if outputs == 1 else f"{outputs} outputs"
        raise CheckpointError(
            f"{stored[HEAD_BIAS].path} has a {HEAD_BIAS} of shape {tuple(bias.shape)}; a reward "
            f"head has {wanted}"
        )
    return bias


def give_bias(head: Any, bias: Tensor) -> None:
    """Let a linear head without a bias add one; a head that has its own takes the value.

    Args:
        head: the model's `score`, a linear layer with one output a label; changed in place.
        bias: (outputs,), any float dtype.

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
