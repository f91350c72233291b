"""Disks that fill up while something is written, for the tests of what is left then."""

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHANGES = {"os.mkdir", "os.rename", "os.truncate"}


class _FullDisk:
    """An audit hook: refuses the nth change below a directory and every one after it."""

    def __init__(self) -> None:
        self.below: Path | None = None
        self.left = 0
        self.refused = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.below is None or not self._is_a_change(event, arguments):
            return
        self.left -= 1
        if self.left < 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_a_change(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _mode, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return False
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return False
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(
            str(self.below)
        )


_hook: list[_FullDisk] = []


@contextmanager
def disk_full_after(changes: int, *, below: Path) -> Iterator[_FullDisk]:
    """Every file that Python opens for writing, and every rename, fails after so many of them.

    An audit hook can't be taken away again, so there is one, switched off outside this block.
    """
    if not _hook:
        _hook.append(_FullDisk())
        sys.addaudithook(_hook[0])
    disk = _hook[0]
    disk.below, disk.left, disk.refused = below, changes, 0
    try:
        yield disk
    finally:
        disk.below = None


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Writes fail in the middle of every larger file, in native code as well (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
