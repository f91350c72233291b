"""What is said of a state that can't be used, when, and how often."""

import errno
import sqlite3

import pytest

from service.streams.faults import (
    FAULT_KINDS,
    Fault,
    FaultKind,
    FaultWatch,
    StateDamaged,
    StateLost,
)


def sqlite_error(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite_error("SQLITE_FULL"), "disk_full"),
        (OSError(errno.ENOSPC, "No space left"), "disk_full"),
        (sqlite_error("SQLITE_READONLY_DBMOVED"), "read_only"),
        (OSError(errno.EROFS, "Read-only"), "read_only"),
        (sqlite_error("SQLITE_IOERR_WRITE"), "io_error"),
        (OSError(errno.EIO, "I/O error"), "io_error"),
        (sqlite_error("SQLITE_BUSY"), "locked"),
        (sqlite_error("SQLITE_CORRUPT_INDEX"), "damaged"),
        (sqlite_error("SQLITE_NOTADB"), "damaged"),
        (StateDamaged("a row"), "damaged"),
        (StateLost("gone"), "lost"),
        (sqlite_error("SQLITE_ERROR"), "error"),
        (sqlite3.ProgrammingError("Python's own"), "error"),
    ],
)
def test_errors_are_told_apart(error: Exception, kind: FaultKind) -> None:
    fault = Fault.of(error)

    assert fault.kind == kind
    assert fault.lasts == (kind in {"damaged", "lost"})


def test_every_kind_says_what_to_do() -> None:
    for kind in FAULT_KINDS:
        fault = Fault(kind, "what happened")
        assert len(fault.advice) > 40
        assert ("what happened" in str(fault.error())) == fault.lasts


def test_a_fault_is_told_when_it_begins_and_when_it_ends_and_not_in_between() -> None:
    told: list[str | None] = []
    watch = FaultWatch(lambda fault: told.append(fault and fault.kind))

    watch.end()
    for name in ("SQLITE_FULL", "SQLITE_FULL", "SQLITE_IOERR"):
        watch.begin(sqlite_error(name))
    watch.end()
    watch.end()

    assert told == ["disk_full", "io_error", None]


def test_whether_it_has_ended_is_tried_once_a_second_and_never_where_it_lasts() -> None:
    now = [100.0]
    watch = FaultWatch(clock=lambda: now[0])

    assert not watch.may_probe()
    watch.begin(sqlite_error("SQLITE_FULL"))
    assert [watch.may_probe() for _ in range(3)] == [True, False, False]
    now[0] += 1.0
    assert watch.may_probe()
    watch.begin(StateDamaged("a row"))
    now[0] += 1.0
    assert not watch.may_probe()
