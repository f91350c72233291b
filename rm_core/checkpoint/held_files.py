"""A checkpoint's files, each opened once: what is hashed is what is loaded.

Libraries load by path, and what a path names may be another file a moment later. So every file is
opened once: small ones are read whole into memory, weights stay open. What libraries are given is a
private directory of links to these descriptors, in which nothing else is to be found. The weights
are hashed through their descriptor and loaded through it, so that there is no second copy of them;
should their bytes have changed between the two, the file's time of change tells.
"""

import hashlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rm_core.checkpoint.regular_files import (
    opened,
    read_small,
    refuse_irregular,
    refuse_outside,
)
from rm_core.errors import CheckpointError, ConfigurationError, RewardError

SMALL = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".spm", ".bpe", ".codes")
"""Suffixes of configurations, chat templates and vocabularies; libraries see nothing else."""

TEMPLATES = "additional_chat_templates"
"""The one folder in a checkpoint that transformers reads."""

MAX_FILES = 512
_PROCESS_FILES = Path("/proc/self/fd")
_TICK_SECONDS = 0.02
"""Two changes of a file within one tick of the kernel's coarse clock (10 ms at most) have one time
of change."""


Stamp = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, and the times of the last change in ns."""


def stamp_of(found: os.stat_result) -> Stamp:
    """What tells that a file is still the same, to the byte."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class HeldFiles:
    """The files of one checkpoint, open until `close`, or until nobody refers to this.

    Args:
        directory: the checkpoint's.
        weights: those of its files that hold the weights; others are left out.

    Attributes:
        source: the checkpoint's directory.
        path: what libraries are given in its place.

    Raises:
        UnsafeCheckpoint: a file is none, or lies outside of the directory.
        CheckpointError: there are too many, one is too large, or one can't be read.
        ConfigurationError: there is nowhere to put links.
    """

    def __init__(self, directory: Path, weights: Sequence[Path]) -> None:
        self.source = directory
        try:
            self.path = Path(tempfile.mkdtemp(prefix="rewardd-checkpoint-"))
        except OSError as error:
            raise ConfigurationError(
                f"there is no directory for temporary files ({error.strerror}), in which links to "
                "a checkpoint's files are put; set TMPDIR to one that can be written"
            ) from error
        self._descriptors: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self._stamps: dict[str, Stamp] = {}
        self._close = weakref.finalize(self, _close, self.path, self._descriptors)
        try:
            for path in _small_files(directory):
                self._hold_small(path.relative_to(directory).as_posix(), path)
            for path in weights:
                self._hold_weights(path.name, path)
        except OSError as error:
            self.close()
            raise CheckpointError(
                f"{error.filename or directory} can't be read ({error.strerror}); fetch the "
                "checkpoint whole, a link's target too, and give its files to this user"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all files; the directory of links vanishes."""
        self._close()

    @property
    def names(self) -> frozenset[str]:
        """The files that are held, by their names in the directory."""
        return frozenset(self._digests) | frozenset(self._stamps)

    def digest_of(self, path: Path) -> str:
        """The sha256 of the bytes that are loaded of a file, hex.

        Args:
            path: in the checkpoint's directory or in that of the links.
        """
        name = path.relative_to(self.path if path.is_relative_to(self.path) else self.source)
        key = name.as_posix()
        if key not in self._digests:
            with os.fdopen(self._descriptors[key], "rb", closefd=False) as file:
                file.seek(0)
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]

    def keep_only(self, names: Collection[str]) -> None:
        """Let libraries see no other files than these."""
        for name in self.names - set(names):
            (self.path / name).unlink()
            os.close(self._descriptors.pop(name))
            self._digests.pop(name, None)
            self._stamps.pop(name, None)

    def refuse_changed(self) -> None:
        """Refuse weights whose bytes may have changed since they were opened.

        Raises:
            CheckpointError: they may.
        """
        for name, stamp in self._stamps.items():
            if stamp_of(os.fstat(self._descriptors[name])) != stamp:
                raise CheckpointError(
                    f"{self.source / name} changed while it was loaded; load it again once it is "
                    "written whole"
                )

    def _hold_small(self, name: str, path: Path) -> None:
        refuse_outside(path, self.source)
        content = read_small(path)
        self._digests[name] = hashlib.sha256(content).hexdigest()
        place = self.path / name
        place.parent.mkdir(exist_ok=True)
        if not (hasattr(os, "memfd_create") and _PROCESS_FILES.is_dir()):
            place.write_bytes(content)
            self._descriptors[name] = os.open(place, os.O_RDONLY)
            return
        descriptor = os.memfd_create(path.name)
        self._descriptors[name] = descriptor
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        place.symlink_to(_link(descriptor))

    def _hold_weights(self, name: str, path: Path) -> None:
        refuse_outside(path, self.source)
        with opened(path) as file:
            descriptor = os.dup(file.fileno())
        self._descriptors[name] = descriptor
        _await_tick(descriptor)
        self._stamps[name] = stamp_of(os.fstat(descriptor))
        is_here = _PROCESS_FILES.is_dir()
        (self.path / name).symlink_to(_link(descriptor) if is_here else os.path.realpath(path))


def _link(descriptor: int) -> str:
    # By the process's number, so that its children may follow it too.
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _await_tick(descriptor: int) -> None:
    """Wait until another change of a file would show in its time of change."""
    age = time.time() - os.fstat(descriptor).st_ctime
    if 0 <= age < _TICK_SECONDS:
        time.sleep(_TICK_SECONDS - age)


def _small_files(directory: Path) -> list[Path]:
    found = [path for path in directory.iterdir() if path.suffix in SMALL]
    templates = directory / TEMPLATES
    if templates.is_dir():
        found += templates.glob("*.jinja")
    # Nothing hidden is a checkpoint's; what a link leads to is asked when it is opened.
    found = [path for path in found if not path.name.startswith(".") and not path.is_dir()]
    if len(found) > MAX_FILES:
        raise CheckpointError(
            f"{directory} has {len(found)} files of configuration, and no checkpoint has more than "
            f"{MAX_FILES}; name the directory of one model"
        )
    return sorted(found)


def refuse_strange_files(directory: Path) -> None:
    """Refuse a directory whose configuration, vocabulary or weights are no files of its own.

    Nothing is opened.

    Raises:
        UnsafeCheckpoint: a link leads out of it, or a file is a pipe, a device or a socket.
    """
    for path in (*_small_files(directory), *sorted(directory.glob("*.safetensors"))):
        refuse_outside(path, directory)
        if path.exists():
            refuse_irregular(path, path.stat())


def _close(path: Path, descriptors: dict[str, int]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    while descriptors:
        os.close(descriptors.popitem()[1])


@contextmanager
def told_by_source(files: HeldFiles) -> Iterator[None]:
    """Errors that name the checkpoint's own directory in place of that of the links."""
    try:
        yield
    except RewardError as error:
        error.args = tuple(
            part.replace(str(files.path), str(files.source)) if isinstance(part, str) else part
            for part in error.args
        )
        raise


DigestOf = Callable[[Path], str]
"""Gives the sha256 of a file's bytes, hex."""
