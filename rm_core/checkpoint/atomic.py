"""Directories that a crash, a kill or a full disk leaves whole or absent, never half."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from rm_core.errors import NotSaved


@contextmanager
def written_whole(place: Path, *, advice: str) -> Iterator[Path]:
    """A new directory to write into, which takes its place when the block ends.

    Args:
        place: absent, or a directory to be replaced.
        advice: what to do should the disk be full.

    Yields:
        The directory, empty, beside its place.

    Raises:
        NotSaved: something could not be written; what stood at the place stands as before.
    """
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        replace_directory(partial, place)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)  # room on a full disk
        if not is_of_the_disk(error):
            raise
        raise NotSaved(f"{place} could not be written ({error}); {advice}") from error


def is_of_the_disk(error: Exception) -> bool:
    """Whether an error may be the way in which a library tells of a disk that is full or broken.

    torch.save raises RuntimeError, tokenizers a bare Exception.
    """
    return isinstance(error, OSError | SafetensorError | RuntimeError) or type(error) is Exception


def sync_tree(directory: Path) -> None:
    """Wait until every file and name below a directory is on the disk, not only in memory.

    Without it a power cut after a rename could leave the new name with empty files behind it.

    Args:
        directory: written and closed.

    Raises:
        OSError: the disk refused.
    """
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def replace_directory(new: Path, place: Path) -> None:
    """Put a finished directory in its place; what stood there stays until the new one is in.

    Between two renames the place is empty for an instant; `recover_directory` mends a kill there.

    Args:
        new: on the same file system, finished.
        place: absent, or a directory to be replaced.

    Raises:
        OSError: the disk refused; the old directory stands then as before.
    """
    sync_tree(new)
    aside = _aside(place)
    shutil.rmtree(aside, ignore_errors=True)
    if place.exists():
        place.rename(aside)
    try:
        new.rename(place)
    except OSError:
        if aside.exists():
            aside.rename(place)
        raise
    _sync(place.parent)
    shutil.rmtree(aside, ignore_errors=True)


def recover_directory(place: Path) -> None:
    """Bring back the old directory where a replacement was killed before the new one was in.

    Args:
        place: as given to `replace_directory`.
    """
    aside = _aside(place)
    if aside.is_dir() and not place.exists():
        aside.rename(place)


def _aside(place: Path) -> Path:
    return place.with_name(f".{place.name}.replaced")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
