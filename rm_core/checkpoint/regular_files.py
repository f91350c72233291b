"""Files of a checkpoint, opened so that nothing else than a file of its own can be meant.

A name in a checkpoint's directory may be a pipe, a device or a link to anywhere. What a name is, is
asked before it is opened, and opening never waits.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from rm_core.errors import CheckpointError, UnsafeCheckpoint

MAX_SMALL_BYTES = 256 * 1024 * 1024
"""Most bytes of a file that is no weights; the largest vocabularies take a seventh of it."""


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file, open for reading.

    Raises:
        UnsafeCheckpoint: it is a pipe, a device, a socket or a directory.
        OSError: it is not there, or may not be read.
    """
    refuse_irregular(path, path.stat())
    # Should the name have become a pipe since, opening it must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        refuse_irregular(path, os.fstat(descriptor))
        yield file


def refuse_irregular(path: Path, found: os.stat_result) -> None:
    """Refuse what is no regular file.

    Raises:
        UnsafeCheckpoint: it is a pipe, a device, a socket or a directory.
    """
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeCheckpoint(
            f"{path} is no regular file, but {_KINDS.get(stat.S_IFMT(found.st_mode), 'a device')}; "
            "it was not opened: remove it from the checkpoint"
        )


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
}


def read_small(path: Path) -> bytes:
    """The bytes of a file that is no weights.

    Raises:
        UnsafeCheckpoint: it is no regular file.
        CheckpointError: it has more than `MAX_SMALL_BYTES`.
        OSError: it can't be read.
    """
    with opened(path) as file:
        found = file.read(MAX_SMALL_BYTES + 1)
    if len(found) > MAX_SMALL_BYTES:
        raise CheckpointError(
            f"{path} has more than {MAX_SMALL_BYTES >> 20} MiB, which no configuration or "
            "tokenizer has; fetch the checkpoint again"
        )
    return found


def refuse_outside(path: Path, root: Path) -> None:
    """Refuse a file that links lead out of the checkpoint's directory.

    A hub cache keeps contents beside its snapshots, in `blobs`, and links into these stay allowed.

    Raises:
        UnsafeCheckpoint: it is outside.
    """
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if real.is_relative_to(home):
        return
    snapshots = next((above for above in home.parents if above.name == "snapshots"), None)
    if snapshots is not None and real.parent == snapshots.parent / "blobs":
        return
    raise UnsafeCheckpoint(
        f"{path} is a link to {real}, outside of the checkpoint; put the file itself into {root}"
    )
