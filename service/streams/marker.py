"""The evidence, kept beside the state file, that there was one, and how far it had come.

An emptied, vanished or older file looks like a new one and would count every sample again. The
marker holds the state's name and the number of its commits. It is written after each commit without
waiting for the disk: a kill can't lose it, and after a crash of the machine it knows too little and
never too much.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from service.streams.faults import StateLost
from service.streams.row_check import row_check

_FORM = re.compile(rb"state=([0-9a-f]{32}) commits=([0-9]{20}) check=([0-9a-f]{16})\n")


def marker_of(state_file: Path) -> Path:
    """Where a state file's marker lies."""
    return state_file.with_name(f"{state_file.name}-marker")


@dataclass(frozen=True, slots=True)
class Marked:
    """What a marker says.

    Attributes:
        name: of the state, 32 hex digits.
        commits: that the file held at least.
    """

    name: str
    commits: int

    def to_bytes(self) -> bytes:
        """As it stands in the file; always of one length, so that it is written in place."""
        check = row_check(self.name, self.commits).hex()
        return f"state={self.name} commits={self.commits:020d} check={check}\n".encode("ascii")

    @classmethod
    def read(cls, path: Path) -> "Marked | None":
        """The marker in a file; None if there is none.

        Raises:
            StateLost: it can't be understood.
            OSError: it can't be read.
        """
        try:
            found = _FORM.fullmatch(path.read_bytes())
        except FileNotFoundError:
            return None
        if found is not None:
            marked = cls(found[1].decode("ascii"), int(found[2]))
            if marked.to_bytes() == found[0]:
                return marked
        raise StateLost(f"the marker {path.name} can't be understood")


class Marker:
    """A marker that is kept up to date; belongs to the store's thread.

    Args:
        path: of the marker; made if it isn't there.
        marked: what it is to say.

    Raises:
        OSError: it can't be written.
    """

    def __init__(self, path: Path, marked: Marked) -> None:
        self._name = marked.name
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(self._file, marked.to_bytes(), 0)
            os.fsync(self._file)
            _sync_directory(path.parent)
        except OSError:
            os.close(self._file)
            raise

    def advance(self, commits: int) -> None:
        """The state holds so many commits; where that can't be written it says less, not wrong."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, Marked(self._name, commits).to_bytes(), 0)

    def close(self) -> None:
        """Let go of the file, its last word on the disk if that can be."""
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
