"""Reward heads among a checkpoint's tensors, known by their shape whatever they are called.

A head ends in a linear layer with one output, a weight of shape (1, width); or with one for each of
several labels, where it is asked for those. Where layers stand before it, their weights chain up to
it: `score.0.weight` (width, hidden) and `score.2.weight` of a Sequential, `dense.weight` and
`out_proj.weight` of the heads of RoBERTa and its kin. Only headers are looked at until a head is
read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from rm_core.checkpoint.weights import Stored, read_tensor

WITHIN_LAYERS = re.compile(
    r"(^|\.)(layers?|h|blocks?|encoder|decoder|experts|embeddings?|visual|vision_tower)\."
)
"""Names of what a trunk is made of, where weights of one output stand too (gates of experts)."""

LAST_OF_PAIR = {"out_proj": "dense"}
"""The last layer's name and that of the layer before it, as RoBERTa's classes call them."""

TOLD_BY_LAYOUT = {"out_proj": "tanh"}
"""The activation that goes with these names wherever transformers uses them."""

TOLD_BY_ARCHITECTURE = {"Qwen2ForRewardModel": "relu"}
"""Reward models of others whose code fixes the activation (Qwen2.5-Math-RM: Linear-ReLU-Linear)."""


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A reward head as it lies in the files.

    Attributes:
        name: of the module ("score", "value_head"), or of the weight itself where it has no module.
        layers: the name of each linear layer's weight, first to last.
        width: of the hidden states that it reads.
        activation: between the layers, where the names tell it; None where not, or for one layer.
    """

    name: str
    layers: tuple[str, ...]
    width: int
    activation: str | None = None

    @property
    def shape(self) -> str:
        """How it looks, for a message."""
        if len(self.layers) == 1:
            return f"{self.layers[0]} (1, {self.width})"
        return " → ".join(self.layers)


def heads_of(stored: Stored, *, outputs: int = 1) -> tuple[StoredHead, ...]:
    """Everything among a checkpoint's tensors that has the shape of a reward head, by name.

    Args:
        stored: the tensors.
        outputs: of the head's last layer: one a label.
    """
    lasts = [
        name
        for name, tensor in stored.items()
        if len(tensor.shape) == 2
        and tensor.shape[0] == outputs
        and tensor.shape[1] > 1
        and not WITHIN_LAYERS.search(name)
    ]
    return tuple(_head(stored, last) for last in sorted(lasts))


def head_named(stored: Stored, name: str) -> StoredHead | None:
    """The head that somebody calls by its module's name or that of one of its weights."""
    heads = heads_of(stored)
    return next(
        (head for head in heads if name in {head.name, *head.layers, f"{head.name}.weight"}), None
    )


def _head(stored: Stored, last: str) -> StoredHead:
    module, _, kind = last.rpartition(".")
    if kind != "weight":
        return StoredHead(last, (last,), stored[last].shape[1])
    parent, _, own = module.rpartition(".")
    before = f"{parent}.{LAST_OF_PAIR.get(own, '')}.weight".removeprefix(".")
    if own.isdecimal() and parent:
        layers = _chain(stored, parent, int(own))
    elif own in LAST_OF_PAIR and before in stored:
        layers = (before, last)
    else:
        layers = (last,)
    if len(layers) == 1 or not _chains(stored, layers):
        return StoredHead(module, (last,), stored[last].shape[1])
    return StoredHead(parent, layers, stored[layers[0]].shape[1], TOLD_BY_LAYOUT.get(own))


def _chain(stored: Stored, parent: str, end: int) -> tuple[str, ...]:
    """Weights of a Sequential's linear layers, up to the one at index `end`."""
    names = (f"{parent}.{index}.weight" for index in range(end + 1))
    return tuple(name for name in names if name in stored)


def _chains(stored: Stored, layers: Iterable[str]) -> bool:
    shapes = [stored[name].shape for name in layers]
    return all(len(shape) == 2 for shape in shapes) and all(
        one[0] == other[1] for one, other in pairwise(shapes)
    )


def bias_of(weight: str) -> str:
    """The name of the bias that belongs to a layer's weight."""
    module, dot, kind = weight.rpartition(".")
    return f"{module}.bias" if dot and kind == "weight" else f"{weight}.bias"


def names_of(stored: Stored, head: StoredHead) -> frozenset[str]:
    """The names of all tensors of a head."""
    biases = {bias_of(weight) for weight in head.layers}
    return frozenset({*head.layers, *(biases & set(stored))})


def read_layers(stored: Stored, head: StoredHead) -> list[tuple[Tensor, Tensor | None]]:
    """The weight and the bias of each of a head's layers, first to last.

    Raises:
        CheckpointError: a file can't be read.
    """
    layers = []
    for name in head.layers:
        bias = stored.get(bias_of(name))
        layers.append((read_tensor(stored[name]), None if bias is None else read_tensor(bias)))
    return layers
