"""transformers' sequence classifier from a directory, every tensor of its files accounted for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import Linear, Parameter

from rm_core.checkpoint.accounting import (
    TensorAccount,
    account,
    refuse_lacking,
    refuse_unaccounted,
    told,
    wrapper_of,
)
from rm_core.checkpoint.heads import (
    ACTIVATIONS,
    HEAD_BIAS,
    HiddenLayerHead,
    give_bias,
    read_head_bias,
)
from rm_core.checkpoint.held_files import HeldFiles
from rm_core.checkpoint.labels import keep_label, label_index, label_names
from rm_core.checkpoint.shared_trunks import SharedTrunks, TrunkFiles, on_same_tensors
from rm_core.checkpoint.source import ModelSource
from rm_core.checkpoint.stored_heads import (
    TOLD_BY_ARCHITECTURE,
    StoredHead,
    heads_of,
    names_of,
    read_layers,
)
from rm_core.checkpoint.transformers_loading import Loading, from_pretrained
from rm_core.checkpoint.weights import (
    Stored,
    StoredTensor,
    read_tensor,
    stored_tensors,
    weight_files,
)
from rm_core.errors import CheckpointError, MissingHead, WrongNumLabels

HEAD = "score"
OF_OURS = "rewardd"
"""Key of config.json under which we keep what transformers has no key for."""
ACTIVATION_KEY = "head_activation"
CLASSIFIES = "ForSequenceClassification"
VALUE_HEADS = ("v_head.summary", "value_head")
"""Heads on language models of other projects, which `rewardd convert` knows without being told."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """A loaded model and what became of its files' tensors.

    Attributes:
        model: transformers' sequence classification model with one label.
        accounts: of every tensor.
        label: the number of the label that was kept of several; None: there was one.
        layer: how many layers are run; None: all.
    """

    model: Any
    accounts: tuple[TensorAccount, ...]
    label: int | None = None
    layer: int | None = None


Trunks = SharedTrunks[tuple[Any, Loading]]
"""What was loaded of checkpoints whose trunks may be those of others."""


def load_classifier(
    source: ModelSource,
    directory: Path,
    config: Mapping[str, Any],
    dtype: torch.dtype,
    *,
    device: torch.device | str = "cpu",
    labels: Sequence[str] = (),
    trunks: Trunks | None = None,
    files: HeldFiles | None = None,
) -> Classifier:
    """A full checkpoint's model with the head that its files hold, linear or with hidden layers.

    Args:
        source: as the user gave it: the name, the label, the layer.
        directory: inspected.
        config: the content of config.json.
        dtype: of the weights; a head with hidden layers stays in float32.
        device: where the weights go.
        labels: what the manifest calls the labels, in order; none: as config.json does.
        trunks: where other checkpoints' trunks are looked for; None: nothing is shared.
        files: what holds the directory's files open, which shared trunks may be asked later; None:
            nobody.

    Raises:
        MissingHead: there is no reward head where transformers looks for it.
        WrongNumLabels: the head gives more than one number, and the source names none of them.
        UnaccountedWeights: weights are lacking, or have no place.
        CheckpointError: transformers can't load it, or it can't be read at that layer.
    """
    name = source.name
    stored = stored_tensors(weight_files(directory))
    check_architecture(name, directory, config, stored)
    count = 1 if hidden_head(stored) is not None else num_labels_of(name, config)
    names = tuple(labels) or label_names(config, count)
    if len(names) != count:
        raise WrongNumLabels(f"{name} has {count} labels, and its manifest names {len(names)}")
    index = label_index(source, names)
    deep = hidden_head(stored, outputs=count)
    options = {} if deep is None else {"num_labels": count}

    def load() -> tuple[Any, Loading]:
        loaded, found = from_pretrained(name, directory, dtype, layer=source.layer, **options)
        return loaded.to(device), found

    if trunks is None:
        model, loading = load()
    else:
        read_as = (dtype, torch.device(device), source.layer, count)
        trunk = TrunkFiles(_without_score(stored), config, read_as, files)
        model, loading = trunks.take(trunk, load)
        model, loading = _with_own_score(model, loading, stored, dtype)
    missing, placed = loading.missing, set[str]()
    if deep is not None:
        _give_hidden_layers(name, model, deep, stored, config)
        placed = set(names_of(stored, deep))
        missing = [key for key in missing if key != f"{HEAD}.weight"]
    elif (bias := read_head_bias(stored, outputs=count)) is not None:
        give_bias(getattr(model, HEAD, None), bias)
        placed = {HEAD_BIAS}
    in_head = [key for key in missing if not key.startswith(f"{model.base_model_prefix}.")]
    if in_head and wrapper_of(stored) is None:
        raise MissingHead(_without_head(name, directory, in_head, stored))
    refuse_lacking(name, missing, stored)
    accounts = account(model, stored, loading.unexpected, placed=placed, inner=loading.inner)
    refuse_unaccounted(name, accounts, stored, config)
    if index is not None:
        keep_label(model, index)
    model = model.to(device)  # the head, too
    return Classifier(model, accounts, index, None if loading.inner is None else source.layer)


def _without_score(stored: Stored) -> dict[str, StoredTensor]:
    return {key: tensor for key, tensor in stored.items() if not key.startswith(f"{HEAD}.")}


def _with_own_score(
    held: Any, loading: Loading, stored: Stored, dtype: torch.dtype
) -> tuple[Any, Loading]:
    """A model of one's own on tensors that others share, with the `score` of these files."""
    model = on_same_tensors(held)
    score = getattr(model, HEAD, None)
    if not isinstance(score, Linear):
        return model, loading  # an encoder's head, in which equal trunks are equal too
    missing = [key for key in loading.missing if key != f"{HEAD}.weight"]
    unexpected = [key for key in loading.unexpected if not key.startswith(f"{HEAD}.")]
    unexpected += [key for key in stored if key.startswith(f"{HEAD}.") and key != f"{HEAD}.weight"]
    if f"{HEAD}.weight" in stored:
        weight = read_tensor(stored[f"{HEAD}.weight"]).to(score.weight.device, dtype)
        if weight.shape != score.weight.shape:
            raise CheckpointError(
                f"{stored[f'{HEAD}.weight'].path} has a {HEAD}.weight of shape "
                f"{tuple(weight.shape)}, and config.json asks for {tuple(score.weight.shape)}"
            )
        model.score = Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        model.score.weight = Parameter(weight)
    else:
        missing.append(f"{HEAD}.weight")
    return model, replace(loading, missing=missing, unexpected=unexpected)


def load_base(
    name: str, directory: Path, config: Mapping[str, Any], dtype: torch.dtype
) -> Classifier:
    """An adapter's base; its head may be missing or another, as the adapter brings its own.

    Raises:
        UnaccountedWeights: weights of its trunk are lacking, or have no place.
        CheckpointError: transformers can't load it.
    """
    stored = stored_tensors(weight_files(directory))
    model, loading = from_pretrained(name, directory, dtype, num_labels=1)
    refuse_lacking(name, [k for k in loading.missing if not k.startswith(f"{HEAD}.")], stored)
    accounts = account(
        model, stored, loading.unexpected, placed={HEAD_BIAS} & set(stored), brings_head=True
    )
    refuse_unaccounted(name, accounts, stored, config)
    return Classifier(model, accounts)


def check_architecture(
    name: str, directory: Path, config: Mapping[str, Any], stored: Stored
) -> None:
    """Refuse what config.json shows to be no classifier.

    Args:
        name: as the user gave it.
        directory: where it is.
        config: the content of config.json.
        stored: its tensors.

    Raises:
        MissingHead: the architecture is no classifier.
    """
    architectures = architectures_of(name, config)
    known = any(a.endswith(CLASSIFIES) or a in TOLD_BY_ARCHITECTURE for a in architectures)
    if not known:
        kind = ", ".join(architectures) or "of no named architecture"
        raise MissingHead(
            f"{name} is {kind}, not a sequence classification model, so transformers loads it "
            f"without a reward head; {way_on(name, directory, stored, known=VALUE_HEADS)}"
        )


def check_base_architecture(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a base of adapters that is neither a language model nor a reward model.

    Raises:
        MissingHead: it is neither.
        WrongNumLabels: it is a classifier of more than one label.
    """
    architectures = architectures_of(name, config)
    if any(own.endswith(("ForCausalLM", "LMHeadModel")) for own in architectures):
        return
    if not any(own.endswith(CLASSIFIES) for own in architectures):
        raise MissingHead(
            f"{name} is {', '.join(architectures) or 'of no named architecture'}, neither a "
            "causal language model nor a sequence classifier; an adapter is served on one of these"
        )
    count = num_labels_of(name, config)
    if count != 1:
        raise WrongNumLabels(
            f"{name} has {count} labels; a reward model has exactly 1 (num_labels: 1)"
        )


def architectures_of(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The architectures that a config.json names.

    Raises:
        CheckpointError: they are no list of names.
    """
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(entry, str) for entry in named):
        raise CheckpointError(f"{name}: architectures in config.json must be a list of names")
    return tuple(named)


def num_labels_of(name: str, config: Mapping[str, Any]) -> int:
    """How many labels a config.json gives its classifier; transformers' default is 2.

    Raises:
        CheckpointError: num_labels is no whole number, or id2label no object.
    """
    labels = config.get("id2label")
    if labels is not None and not isinstance(labels, dict):
        raise CheckpointError(f"{name}: id2label in config.json must be an object")
    count = config.get("num_labels", len(labels or {0: "", 1: ""}))
    if not isinstance(count, int) or isinstance(count, bool):
        raise CheckpointError(f"{name}: num_labels in config.json must be a whole number")
    return count


def hidden_head(stored: Stored, *, outputs: int = 1) -> StoredHead | None:
    """The head with hidden layers that stands where a decoder's linear one would; None without.

    Args:
        stored: the checkpoint's tensors.
        outputs: of the head: one a label.
    """
    if f"{HEAD}.weight" in stored:
        return None
    heads = heads_of(stored, outputs=outputs)
    return next((head for head in heads if head.name == HEAD and len(head.layers) > 1), None)


def activation_of(name: str, head: StoredHead, config: Mapping[str, Any]) -> str:
    """The activation between a head's layers: by config.json, by its names, or its architecture's.

    Raises:
        CheckpointError: nothing tells it.
    """
    own = config.get(OF_OURS)
    said = own.get(ACTIVATION_KEY) if isinstance(own, dict) else None
    named = (TOLD_BY_ARCHITECTURE.get(a) for a in architectures_of(name, config))
    found = said or head.activation or next((a for a in named if a is not None), None)
    if found is None:
        raise CheckpointError(
            f"{name} has a head with hidden layers ({head.shape}), and no file tells the "
            f"activation between them; say it: `rewardd convert {name} OUTPUT --head {head.name} "
            f"--head-activation {'|'.join(ACTIVATIONS)}`"
        )
    return str(found)


def _give_hidden_layers(
    name: str, model: Any, head: StoredHead, stored: Stored, config: Mapping[str, Any]
) -> None:
    linear = getattr(model, HEAD, None)
    if not isinstance(linear, Linear):
        raise CheckpointError(
            f"{name} has {head.shape}, and {type(model).__name__} has no `{HEAD}` that could be "
            "replaced by it; heads with hidden layers of its own are for decoders"
        )
    layers = read_layers(stored, head)
    if head.width != linear.in_features:
        raise CheckpointError(
            f"{name} has {head.layers[0]} of width {head.width}, and hidden states of "
            f"{linear.in_features}"
        )
    model.score = HiddenLayerHead(layers, activation_of(name, head, config))


def _without_head(name: str, directory: Path, missing: list[str], stored: Stored) -> str:
    return (
        f"{name} lacks the weights {told(missing)}, which would be random; "
        f"{way_on(name, directory, stored)}"
    )


def way_on(name: str, directory: Path, stored: Stored, *, known: Sequence[str] = ()) -> str:
    """What to do with a checkpoint whose reward head isn't where transformers looks for it.

    Args:
        name: as the user gave it.
        directory: where it is.
        stored: its tensors.
        known: names of heads that `rewardd convert` knows in this architecture.
    """
    if (directory / "value_head.safetensors").is_file():
        return f"its head is in value_head.safetensors: `rewardd convert {name} OUTPUT`"
    heads = heads_of(stored)
    if heads:
        own = next((head for head in heads if head.name in known), None)
        if own is not None:
            return f"{own.shape} looks like the head: `rewardd convert {name} OUTPUT`"
        others = ", ".join(head.name for head in heads[1:])
        also = f" (or {others})" if others else ""
        return (
            f"{heads[0].shape} looks like the head{also}: `rewardd convert {name} OUTPUT --head "
            f"{heads[0].name}`"
        )
    token = (
        "; where its reward is one token's logit, that is "
        f"`rewardd convert {name} OUTPUT --head 'lm_head[TOKEN_ID]'`"
        if any("lm_head" in key or "embed" in key for key in stored)
        else ""
    )
    return (
        "no tensor looks like one, and a reward model's head must be trained and saved with it: "
        f"`rewardd train`{token}"
    )
