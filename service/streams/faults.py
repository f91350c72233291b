"""Why the state can't be used, in words that say what to do, and since when.

What needs no statistics goes on meanwhile: a fault is the stateful routes' alone.
"""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import structlog

from service.errors import StateUnavailable

FaultKind = Literal["disk_full", "read_only", "io_error", "locked", "error", "damaged", "lost"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

# Nothing that happens by itself mends these: somebody has to decide, and to start again.
_LASTING = frozenset({"damaged", "lost"})
_ADVICE: dict[FaultKind, str] = {
    "disk_full": "the disk of the state file is full; free some space and it goes on by itself",
    "read_only": "the state file can't be written; give it and its directory to this user, on a "
    "file system that is mounted for writing, and it goes on by itself",
    "io_error": "the disk of the state file failed; see the system's log",
    "locked": "another process holds the state file locked; end it, or let it end",
    "error": "the state file can't be used now; see the server's log, then try again",
    "damaged": "the state file is damaged, and no guess is made at what it held; stop the server "
    "and put back a copy of the file, or move it and its marker away and restore the streams with "
    "PUT /streams/{name}",
    "lost": "the state is not the one that was here; stop the server and put its file back, or "
    "delete what is left of it (the marker, a log) to say that this start is meant",
}
_KIND_BY_ERRNO: dict[int | None, FaultKind] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
}
_KIND_BY_NAME: dict[str, FaultKind] = {
    "SQLITE_FULL": "disk_full",
    "SQLITE_READONLY": "read_only",
    "SQLITE_CANTOPEN": "read_only",
    "SQLITE_PERM": "read_only",
    "SQLITE_IOERR": "io_error",
    "SQLITE_BUSY": "locked",
    "SQLITE_LOCKED": "locked",
    "SQLITE_CORRUPT": "damaged",
    "SQLITE_NOTADB": "damaged",
}
_SECONDS_BETWEEN_PROBES = 1.0

_log = structlog.get_logger(__name__)


class StateDamaged(StateUnavailable):
    """Raised when the file holds what was never written into it."""


class StateLost(StateUnavailable):
    """Raised when the file, or commits of it, are gone that were there before."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the state.

    Attributes:
        kind: stable, public name.
        cause: what happened, in the words of whoever noticed.
    """

    kind: FaultKind
    cause: str

    @classmethod
    def of(cls, error: Exception) -> "Fault":
        """What an error means."""
        if isinstance(error, StateDamaged):
            return cls("damaged", str(error))
        if isinstance(error, StateLost):
            return cls("lost", str(error))
        if isinstance(error, OSError):
            return cls(_KIND_BY_ERRNO.get(error.errno, "io_error"), error.strerror or str(error))
        # Extended names begin with the plain ones: SQLITE_IOERR_WRITE.
        name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
        return cls(_KIND_BY_NAME.get(name, "error"), str(error))

    @property
    def lasts(self) -> bool:
        """Whether only a person can mend it."""
        return self.kind in _LASTING

    @property
    def advice(self) -> str:
        """What to do."""
        return _ADVICE[self.kind]

    def error(self) -> StateUnavailable:
        """What callers are told."""
        words = f"{self.advice} ({self.cause})" if self.lasts else self.advice
        return StateUnavailable(words)


class FaultWatch:
    """Whether the state can be used; says so once in the log when that changes.

    Written by the store's thread alone, read by any.

    Args:
        changed: told of every fault that begins, and None when one ends.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        changed: Callable[[Fault | None], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed = changed
        self._clock = clock
        self._next_probe = 0.0
        self.fault: Fault | None = None

    def begin(self, error: Exception) -> Fault:
        """The state could not be used; gives what is wrong."""
        fault = Fault.of(error)
        known, self.fault = self.fault, fault
        if known is None or known.kind != fault.kind:
            _log.error("state_fault", kind=fault.kind, cause=fault.cause, advice=fault.advice)
            self._changed(fault)
        return fault

    def end(self) -> None:
        """A transaction reached the disk."""
        if self.fault is not None:
            _log.info("state_usable_again", kind=self.fault.kind)
            self.fault = None
            self._changed(None)

    def may_probe(self) -> bool:
        """Whether it is time to try again whether a fault has ended; at most once a second."""
        if self.fault is None or self.fault.lasts or self._clock() < self._next_probe:
            return False
        self._next_probe = self._clock() + _SECONDS_BETWEEN_PROBES
        return True
