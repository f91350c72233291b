"""A checkpoint's tensors by name, each read only when it is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from rewardd.checkpoints.convert.pickled import load_pickled
from rm_core.checkpoint.accounting import wrapper_of
from rm_core.checkpoint.weights import StoredTensor, shards_of, stored_tensors
from rm_core.errors import CheckpointError, UnsafeCheckpoint

T = TypeVar("T")
Weights = Mapping[str, Callable[[], Tensor]]
"""Names, and how to read each tensor."""

MODEL, ADAPTER, VALUE_HEAD = "model", "adapter_model", "value_head"
_PICKLED_STEMS = {MODEL: "pytorch_model"}


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that hold one set of tensors.

    Attributes:
        paths: one, or the shards.
        pickled: whether they are pickles.
    """

    paths: tuple[Path, ...]
    pickled: bool


def find_weights(directory: Path, stem: str) -> WeightFiles | None:
    """A model's, an adapter's or a value head's files; None where there are none.

    Safetensors go before pickles and whole files before shards, as in transformers.

    Args:
        directory: where to look.
        stem: MODEL, ADAPTER or VALUE_HEAD.

    Raises:
        CheckpointError: the index of the shards is damaged.
    """
    pickled_stem = _PICKLED_STEMS.get(stem, stem)
    for name, pickled in ((f"{stem}.safetensors", False), (f"{pickled_stem}.bin", True)):
        if (directory / name).is_file():
            return WeightFiles((directory / name,), pickled)
        index = directory / f"{name}.index.json"
        if index.is_file():
            return WeightFiles(shards_of(index), pickled)
    return None


def open_weights(files: WeightFiles, *, allow_pickle: bool) -> Weights:
    """The tensors of these files.

    Args:
        files: as `find_weights` gives them.
        allow_pickle: whether pickles may be read, as plain tensors only.

    Raises:
        UnsafeCheckpoint: pickles, and they are not allowed.
        CheckpointError: a file can't be read, or two hold the same tensor.
    """
    if files.pickled and not allow_pickle:
        names = ", ".join(path.name for path in files.paths[:3])
        raise UnsafeCheckpoint(
            f"{files.paths[0].parent} has weights only as pickles ({names}), and unpickling can "
            "run code; where you trust whoever made them, convert with --allow-pickle"
        )
    weights: dict[str, Callable[[], Tensor]] = {}
    for path in files.paths:
        found = _pickled(path) if files.pickled else _safe(path)
        twice = sorted(weights.keys() & found.keys())
        if twice:
            raise CheckpointError(f"{path} holds {twice[0]}, which another file holds too")
        weights.update(found)
    return weights


def _safe(path: Path) -> Weights:
    try:
        file: Any = safe_open(path, framework="pt")
        return {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error


def _pickled(path: Path) -> Weights:
    def reader(tensor: Tensor) -> Callable[[], Tensor]:
        return lambda: tensor

    return {name: reader(tensor) for name, tensor in load_pickled(path).items()}


def unwrapped(named: Mapping[str, T]) -> Mapping[str, T]:
    """What has names, without what a wrapper put before every one of them."""
    while (wrapper := wrapper_of(named)) is not None:
        named = {name.removeprefix(wrapper): own for name, own in named.items()}
    return named


def shapes_of(files: WeightFiles | None, weights: Weights) -> Mapping[str, StoredTensor]:
    """The shapes of tensors by name; of safetensors only the headers are read.

    Args:
        files: that hold them.
        weights: the same, opened; read where they are pickles, which are in memory already.
    """
    if files is None or files.pickled:
        return {
            name: StoredTensor(name, tuple(read().shape), "", Path())
            for name, read in weights.items()
        }
    return stored_tensors(files.paths)


def take(weights: Weights, name: str, where: Path) -> Tensor:
    """One tensor that must be there.

    Args:
        weights: where it should be.
        name: of the tensor.
        where: the checkpoint, for the message.

    Raises:
        CheckpointError: it is not there.
    """
    if name not in weights:
        raise CheckpointError(f"{where} has no tensor {name}")
    return weights[name]()
