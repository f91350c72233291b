"""transformers' sequence classifier from a directory, every tensor of its files accounted for.

This module is where transformers' loading errors become ours: whatever it, safetensors or a model's
own code raises leaves as one sentence.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import Linear
from transformers import AutoModelForSequenceClassification
from transformers import __version__ as transformers_version
from transformers import logging as transformers_logging

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
from rm_core.checkpoint.json_files import in_short
from rm_core.checkpoint.padding import without_unknown_pad
from rm_core.checkpoint.stored_heads import (
    TOLD_BY_ARCHITECTURE,
    StoredHead,
    heads_of,
    names_of,
    read_layers,
)
from rm_core.checkpoint.weights import Stored, stored_tensors, weight_files
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
    """

    model: Any
    accounts: tuple[TensorAccount, ...]


def load_classifier(
    name: str, directory: Path, config: Mapping[str, Any], dtype: torch.dtype
) -> Classifier:
    """A full checkpoint's model with the head that its files hold, linear or with hidden layers.

    Args:
        name: as the user gave it.
        directory: inspected.
        config: the content of config.json.
        dtype: of the weights; a head with hidden layers stays in float32.

    Raises:
        MissingHead: there is no reward head where transformers looks for it.
        WrongNumLabels: the head gives more than one number.
        UnaccountedWeights: weights are lacking, or have no place.
        CheckpointError: transformers can't load it.
    """
    stored = stored_tensors(weight_files(directory))
    deep = hidden_head(stored)
    check_head(name, directory, config, stored, deep)
    options = {} if deep is None else {"num_labels": 1}
    model, loading = from_pretrained(name, directory, dtype, **options)
    missing, placed = loading.missing, set[str]()
    if deep is not None:
        _give_hidden_layers(name, model, deep, stored, config)
        placed = set(names_of(stored, deep))
        missing = [key for key in missing if key != f"{HEAD}.weight"]
    elif (bias := read_head_bias(stored)) is not None:
        give_bias(getattr(model, HEAD, None), bias)
        placed = {HEAD_BIAS}
    in_head = [key for key in missing if not key.startswith(f"{model.base_model_prefix}.")]
    if in_head and wrapper_of(stored) is None:
        raise MissingHead(_without_head(name, directory, in_head, stored))
    refuse_lacking(name, missing, stored)
    accounts = account(model, stored, loading.unexpected, placed=placed)
    refuse_unaccounted(name, accounts, stored, config)
    return Classifier(model, accounts)


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


def check_head(
    name: str,
    directory: Path,
    config: Mapping[str, Any],
    stored: Stored,
    deep: StoredHead | None,
) -> None:
    """Refuse what config.json and headers show to be no reward model.

    Args:
        name: as the user gave it.
        directory: where it is.
        config: the content of config.json.
        stored: its tensors.
        deep: its head, where that has hidden layers.

    Raises:
        MissingHead: the architecture is no classifier.
        WrongNumLabels: it gives more than one number.
    """
    architectures = architectures_of(name, config)
    known = any(a.endswith(CLASSIFIES) or a in TOLD_BY_ARCHITECTURE for a in architectures)
    if not known:
        kind = ", ".join(architectures) or "of no named architecture"
        raise MissingHead(
            f"{name} is {kind}, not a sequence classification model, so transformers loads it "
            f"without a reward head; {way_on(name, directory, stored, known=VALUE_HEADS)}"
        )
    if deep is not None:
        return
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


def hidden_head(stored: Stored) -> StoredHead | None:
    """The head with hidden layers that stands where a decoder's linear one would; None without."""
    if f"{HEAD}.weight" in stored:
        return None
    found = (head for head in heads_of(stored) if head.name == HEAD and len(head.layers) > 1)
    return next(found, None)


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


@dataclass(frozen=True, slots=True)
class Loading:
    """What transformers says of a loading.

    Attributes:
        missing: names of weights that the files lack, sorted.
        unexpected: names of tensors that the model has no place for, sorted.
    """

    missing: list[str]
    unexpected: list[str]


def from_pretrained(
    name: str, directory: Path, dtype: torch.dtype, **options: Any
) -> tuple[Any, Loading]:
    """The model as transformers loads it, and what it says of the files.

    Raises:
        CheckpointError: it can't, or tensors differ in shape from the config.
    """
    try:
        with without_advice():
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                directory,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # told below, by name
                dtype=dtype,
                output_loading_info=True,
                **{**without_unknown_pad(directory), **options},
            )
    except CheckpointError:
        raise
    except Exception as error:  # models, configurations and files all raise their own kinds
        raise CheckpointError(
            f"transformers {transformers_version} can't load {name} ({in_short(error)}); "
            f"{_advice(error)}"
        ) from error
    mismatched = [
        f"{key} {tuple(found)} for {tuple(wanted)}"
        for key, found, wanted in sorted(loading.get("mismatched_keys") or ())
    ]
    if mismatched:
        raise CheckpointError(
            f"{name}: {told(mismatched)} differ in shape from what config.json says; take the "
            "config.json that the model was trained with"
        )
    return model, Loading(sorted(loading["missing_keys"]), sorted(loading["unexpected_keys"]))


def _advice(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "install what it names"
    if isinstance(error, OSError) or "safetensor" in type(error).__name__.lower():
        return "a file is damaged or absent: fetch the checkpoint again"
    return "compare its config.json with that of the model it was trained from"


@contextmanager
def without_advice() -> Iterator[None]:
    """Without transformers' table of what is missing or unexpected, which we tell ourselves."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
