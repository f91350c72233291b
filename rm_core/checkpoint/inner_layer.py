"""A checkpoint read at an inner layer: its first layers, then the final norm and the head.

The layers above are never built and never loaded. A configuration of fewer layers is made, and both
models are built without weights and compared: the short one must be the long one with its list of
layers cut, module by module, attribute by attribute, tensor by tensor. What differs in any other
way (layers shared among depths, scales by the depth, several lists) is refused by name.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rm_core.checkpoint.json_files import in_short
from rm_core.errors import CheckpointError

DEPTH = "num_hidden_layers"
"""How many layers there are; configurations with another name for it map this one to it."""

_NOT_BY_LAYER = ("token_id", "architectures", "id2label", "rope", "pruned_heads")
"""Words of lists in a configuration that are never one entry a layer."""


@dataclass(frozen=True, slots=True)
class InnerLayer:
    """How a checkpoint is read at an inner layer.

    Attributes:
        config: transformers' configuration of so many layers.
        list_name: of the list of layers, as a module of the whole model ("model.layers").
        layer: how many layers are kept.
        depth: how many the checkpoint has.
    """

    config: Any
    list_name: str
    layer: int
    depth: int

    def is_above(self, name: str, prefix: str) -> bool:
        """Whether a tensor in the files belongs to a layer above the one that is read.

        Args:
            name: in the files.
            prefix: of the trunk in the model ("model."), which names in the files may lack.
        """
        lists = (f"{self.list_name}.", f"{self.list_name.removeprefix(prefix)}.")
        found = next((own for own in lists if name.startswith(own)), None)
        if found is None:
            return False
        number = name.removeprefix(found).partition(".")[0]
        return number.isdecimal() and int(number) >= self.layer


def inner_layer(name: str, config: Any, layer: int) -> InnerLayer | None:
    """How a model is read at one of its layers; None where that is its last.

    Args:
        name: of the checkpoint, for messages.
        config: transformers' configuration of it; left as it is.
        layer: counted from 1.

    Raises:
        CheckpointError: it has fewer layers, or can't be cut so that the rest is as it was.
    """
    depth = getattr(config.get_text_config(), DEPTH, None)
    if not isinstance(depth, int):
        raise _refused(name, config, "its configuration tells no number of layers")
    if layer > depth:
        raise CheckpointError(
            f"{name} has {depth} layers, and layer {layer} is asked for; take 1 to {depth}"
        )
    if layer == depth:
        return None
    if config.is_encoder_decoder:
        raise _refused(name, config, "it is an encoder and a decoder")
    short = _cut_config(config, depth, layer)
    try:
        with torch.device("meta"):
            whole = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
            cut = AutoModelForSequenceClassification.from_config(copy.deepcopy(short))
    except Exception as error:  # models raise what they like where they can't be built so
        raise _refused(name, config, f"building it so raised {in_short(error)}") from error
    found = _list_of_layers(whole, cut, depth, layer)
    if found is None:
        raise _refused(name, config, f"it has no one list of {depth} layers")
    inner = InnerLayer(short, found, layer, depth)
    why = _difference(whole, cut, inner)
    if why is not None:
        raise _refused(name, config, why)
    return inner


def _refused(name: str, config: Any, why: str) -> CheckpointError:
    return CheckpointError(
        f"{name} ({config.model_type}) can't be read at an inner layer: {why}; leave `layer` out"
    )


def _cut_config(config: Any, depth: int, layer: int) -> Any:
    """The configuration of so many layers: the number, and every list of one entry a layer."""
    short = copy.deepcopy(config)
    for part in {id(part): part for part in (short, short.get_text_config())}.values():
        for key, value in list(vars(part).items()):
            if (
                isinstance(value, list | tuple)
                and len(value) == depth
                and not any(word in key for word in _NOT_BY_LAYER)
            ):
                setattr(part, key, value[:layer])
    setattr(short.get_text_config(), DEPTH, layer)
    return short


def _list_of_layers(whole: Any, cut: Any, depth: int, layer: int) -> str | None:
    """The name of the one outermost list of modules that was cut from `depth` to `layer`."""
    lists = [
        name
        for name, module in whole.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == depth
        and len(_module(cut, name) or ()) == layer
    ]
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    return outermost[0] if len(outermost) == 1 else None


def _module(model: Any, name: str) -> Any:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _difference(whole: Any, cut: Any, inner: InnerLayer) -> str | None:
    """What else differs between a model and the same one cut; None where nothing does."""
    expected = {
        name: module for name, module in whole.named_modules() if not inner.is_above(f"{name}.", "")
    }
    found = dict(cut.named_modules())
    if expected.keys() != found.keys():
        return f"{min(expected.keys() ^ found.keys())} comes or goes with the layers"
    for name, module in found.items():
        if type(module) is not type(expected[name]):
            return f"{name} becomes another module"
        if (key := _changed(expected[name], module, inner)) is not None:
            return f"{name or 'the model'} computes with {key}, which changes with the layers"
    shapes = {
        name: tensor.shape
        for name, tensor in whole.state_dict().items()
        if not inner.is_above(name, "")
    }
    if shapes != {name: tensor.shape for name, tensor in cut.state_dict().items()}:
        return "its other weights change with the layers"
    return None


def _changed(whole: nn.Module, cut: nn.Module, inner: InnerLayer) -> str | None:
    """A plain attribute that differs, other than the number of layers itself.

    One that the short model lacks is of a kind of layer that it has none of.
    """
    before = dict(_plain_attributes(whole))
    for key, value in _plain_attributes(cut):
        was = before.get(key)
        if was != value and (was, value) != (inner.depth, inner.layer):
            return key
    return None


def _plain_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for key, value in vars(module).items():
        if not key.startswith("_") and isinstance(value, int | float | str | bool | None):
            yield key, value
