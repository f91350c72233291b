"""The weight files of a full checkpoint, and what their headers say: no tensor is read for it.

A directory may hold more safetensors than its model: a former head, a value head, the shards of an
earlier save. Only the files that transformers reads are the checkpoint's; everything here goes by
these alone.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from rm_core.checkpoint.json_files import in_short, read_object
from rm_core.errors import CheckpointError, CheckpointNotFound, UnsafeCheckpoint

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as its file's header describes it.

    Attributes:
        name: in the file.
        shape: of it.
        dtype: as safetensors writes it ("F32", "BF16", "I8").
        path: of the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    path: Path


Stored = Mapping[str, StoredTensor]
"""A checkpoint's tensors by name."""


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files that transformers reads of a directory: one, or the index's shards.

    Raises:
        CheckpointNotFound: there are none of these names.
        CheckpointError: the index is damaged, or names a file that isn't there.
    """
    whole, index = directory / WEIGHTS, directory / INDEX
    if whole.is_file():
        return (whole,)
    if index.is_file():
        if not isinstance(read_object(index).get("metadata"), dict):
            raise CheckpointError(
                f'{index} has no "metadata", without which transformers reads no shards; add '
                '"metadata": {} to it'
            )
        return shards_of(index)
    others = sorted(path.name for path in directory.glob("*.safetensors"))
    links = [path for path in (whole, index) if path.is_symlink() and not path.exists()]
    if links:
        raise CheckpointNotFound(
            f"{links[0]} is a link to a file that is gone; fetch the checkpoint whole"
        )
    if not others:
        raise CheckpointNotFound(f"{directory} has a config.json but no *.safetensors weights")
    raise CheckpointNotFound(
        f"{directory} has neither {WEIGHTS} nor {INDEX}, the names that transformers reads, but "
        f"{', '.join(others[:3])}; name the weights so, or fetch the index that belongs to the "
        "shards"
    )


def shards_of(index: Path) -> tuple[Path, ...]:
    """The files that an index of shards names, sorted.

    Raises:
        UnsafeCheckpoint: the index names a file of another directory.
        CheckpointError: the index is damaged, or names a file that isn't there.
    """
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"{index} must have a weight_map of names to files")
    paths = []
    for name in sorted({str(name) for name in names.values()}):
        path = index.parent / name
        if path.name != name or name.startswith("."):
            raise UnsafeCheckpoint(
                f"{index} names {name!r}, which is not in {index.parent}; it was not opened: put "
                "the shard beside the index, and name it so"
            )
        if not path.is_file():
            raise CheckpointError(
                f"{index} names {name}, which is not in {index.parent}; fetch the missing shard"
            )
        paths.append(path)
    return tuple(paths)


def stray_files(directory: Path) -> tuple[str, ...]:
    """Names of safetensors files that nobody reads, sorted.

    Raises:
        CheckpointError: as `weight_files`.
    """
    read = set(weight_files(directory))
    return tuple(sorted(path.name for path in set(directory.glob("*.safetensors")) - read))


def stored_tensors(paths: Sequence[Path]) -> dict[str, StoredTensor]:
    """What the files' headers say, by name.

    Raises:
        CheckpointError: a file can't be read, or two hold the same tensor.
    """
    stored: dict[str, StoredTensor] = {}
    for path in paths:
        for tensor in _header(path):
            if tensor.name in stored:
                raise CheckpointError(
                    f"{tensor.name} is in {stored[tensor.name].path.name} and in {path.name} of "
                    f"{path.parent}, and only one can be meant; remove it from the other"
                )
            stored[tensor.name] = tensor
    return stored


def _header(path: Path) -> list[StoredTensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return [_described(file, name, path) for name in sorted(file.keys())]
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _described(file: Any, name: str, path: Path) -> StoredTensor:
    part = file.get_slice(name)
    return StoredTensor(name, tuple(part.get_shape()), str(part.get_dtype()), path)


def read_tensor(tensor: StoredTensor) -> Tensor:
    """The tensor itself, in the dtype that it was saved in.

    Raises:
        CheckpointError: its file can't be read.
    """
    try:
        with safe_open(tensor.path, framework="pt") as file:
            found: Tensor = file.get_tensor(tensor.name)
            return found
    except (OSError, SafetensorError) as error:
        raise _unreadable(tensor.path, error) from error


def raw_blocks(tensor: StoredTensor, *, size: int = 16 * 1024 * 1024) -> Iterator[memoryview]:
    """The tensor's bytes as its file holds them, block by block: none stays in memory.

    Raises:
        CheckpointError: its file can't be read.
    """
    try:
        with tensor.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            begin, end = json.loads(file.read(length))[tensor.name]["data_offsets"]
            file.seek(8 + length + begin)
            left = end - begin
            block = bytearray(min(size, left))
            while left:
                read = file.readinto(memoryview(block)[: min(size, left)])
                if not read:
                    raise OSError("it ends too soon")
                yield memoryview(block)[:read]
                left -= read
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(tensor.path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"can't load {path} ({in_short(error)}): it is damaged or cut short; copy it again"
    )
