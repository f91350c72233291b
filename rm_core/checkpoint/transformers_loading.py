"""A classifier as transformers loads it from a directory, whole or its first layers.

This module is where transformers' loading errors become ours: whatever it, safetensors or a model's
own code raises leaves as one sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers import __version__ as transformers_version
from transformers import logging as transformers_logging

from rm_core.checkpoint.accounting import told
from rm_core.checkpoint.inner_layer import InnerLayer, inner_layer
from rm_core.checkpoint.json_files import in_short
from rm_core.checkpoint.own_memory import let_go_of_files
from rm_core.checkpoint.padding import without_unknown_pad
from rm_core.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Loading:
    """What transformers says of a loading.

    Attributes:
        missing: names of weights that the files lack, sorted.
        unexpected: names of tensors that the model has no place for, sorted.
        inner: where it was read at an inner layer; None: at its last.
    """

    missing: list[str]
    unexpected: list[str]
    inner: InnerLayer | None = None


def from_pretrained(
    name: str, directory: Path, dtype: torch.dtype, *, layer: int | None = None, **options: Any
) -> tuple[Any, Loading]:
    """The model as transformers loads it, and what it says of the files.

    Args:
        name: of the checkpoint, for messages.
        directory: where it is.
        dtype: of the weights.
        layer: how many layers are built and loaded; None: all.
        options: of its configuration.

    Raises:
        CheckpointError: it can't, or tensors differ in shape from the config.
    """
    options = {**without_unknown_pad(directory), **options}
    inner: InnerLayer | None = None
    try:
        with without_advice():
            if layer is not None:
                config = AutoConfig.from_pretrained(
                    directory, trust_remote_code=False, local_files_only=True, **options
                )
                inner = inner_layer(name, config, layer)
                options = {"config": config if inner is None else inner.config}
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                directory,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # told below, by name
                dtype=dtype,
                output_loading_info=True,
                **options,
            )
    except CheckpointError:
        raise
    except Exception as error:  # models, configurations and files all raise their own kinds
        raise CheckpointError(
            f"transformers {transformers_version} can't load {name} ({in_short(error)}); "
            f"{_advice(error)}"
        ) from error
    let_go_of_files(model)
    mismatched = [
        f"{key} {tuple(found)} for {tuple(wanted)}"
        for key, found, wanted in sorted(loading.get("mismatched_keys") or ())
    ]
    if mismatched:
        raise CheckpointError(
            f"{name}: {told(mismatched)} differ in shape from what config.json says; take the "
            "config.json that the model was trained with"
        )
    missing, unexpected = sorted(loading["missing_keys"]), sorted(loading["unexpected_keys"])
    return model, Loading(missing, unexpected, inner)


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
