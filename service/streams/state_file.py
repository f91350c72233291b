"""The state's file while it is open: transactions, and what becomes of them when the disk fails."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import StateUnavailable
from service.streams import identity_table
from service.streams.database import Recovery, open_database
from service.streams.faults import FaultWatch, StateDamaged, StateLost
from service.streams.marker import Marked, Marker, marker_of
from service.streams.state_clock import StateClock

_ROOM_BYTES = 64 * 1024
"""What must fit on a disk that was full before it is said to have room again."""


class StateFile:
    """A state file that is open, or why it is not; belongs to the store's thread.

    Args:
        path: of the file; None keeps the state in memory.
        clock: the state's time.
        faults: hears what goes wrong, and that it goes right again.
    """

    def __init__(self, path: Path | None, clock: StateClock, faults: FaultWatch) -> None:
        self._path = path
        self._clock = clock
        self._faults = faults
        self._marker: Marker | None = None
        self._inode = (0, 0)
        self.connection: sqlite3.Connection | None = None
        self.recovery: Recovery = "clean"

    def open(self) -> None:
        """Open or create the file; one that was there and can't be used is a fault, told from then.

        Raises:
            ConfigurationError: it can't be made, is no state file of ours, or is newer than us.
        """
        try:
            connection, self.recovery = open_database(self._path)
        except (sqlite3.Error, OSError, StateUnavailable) as exc:
            self._faults.begin(exc)
            return
        try:
            identity = identity_table.read(connection)
            self._clock.start(identity.clock)
            if self._path is not None:
                marked = Marked(identity.name, identity.commits)
                self._marker = Marker(marker_of(self._path), marked)
                self._inode = _inode(self._path)
        except (sqlite3.Error, OSError, StateUnavailable) as exc:
            connection.close()
            self._faults.begin(exc)
            return
        self.connection = connection
        self._faults.end()

    def close(self) -> None:
        """Fold the log into the file and close it; what can't be folded is replayed when opened."""
        if self.connection is not None:
            try:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as exc:
                self._faults.begin(exc)
            self.connection.close()
            self.connection = None
        if self._marker is not None:
            self._marker.close()
            self._marker = None

    def now(self) -> float:
        """The state's time, in seconds."""
        return self._clock.now()

    def try_to_write(self) -> None:
        """See whether a fault has ended: write what a request would, and something that is nothing.

        Raises:
            StateUnavailable: it has not.
        """
        if self._path is not None:
            try:
                with tempfile.TemporaryFile(dir=self._path.parent) as file:
                    file.write(bytes(_ROOM_BYTES))
                    file.flush()
            except OSError as exc:
                raise self._faults.begin(exc).error() from exc
        with self.transaction() as (connection, _):
            connection.execute("UPDATE identity SET one = one")

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """All that is done inside is committed, or nothing of it; with the state's time.

        Raises:
            StateUnavailable: the file can't be written.
        """
        with self.reading() as connection:
            self._require_present()
            connection.execute("BEGIN IMMEDIATE")
            try:
                identity = identity_table.read(connection)
                now = self._clock.now(identity.clock or 0.0)
                before = connection.total_changes
                yield connection, now
                changed = connection.total_changes != before
                if changed:
                    identity = identity_table.committing(connection, identity, clock=now)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            if changed:
                self._committed(identity.commits)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, its errors told.

        Raises:
            StateUnavailable: the file can't be used.
        """
        connection = self._usable()
        try:
            yield connection
        except (sqlite3.Error, StateDamaged, StateLost) as exc:
            raise self._faults.begin(exc).error() from exc

    def _usable(self) -> sqlite3.Connection:
        fault = self._faults.fault
        if self.connection is None and self._faults.may_probe():
            self.open()
            fault = self._faults.fault
        if fault is not None and (fault.lasts or self.connection is None):
            raise fault.error()
        if self.connection is None:
            raise StateUnavailable("the state is closed; the server is stopping")
        return self.connection

    def _committed(self, commits: int) -> None:
        if self._marker is not None:
            self._marker.advance(commits)
        self._faults.end()

    def _require_present(self) -> None:
        """What is written into a file that was deleted is gone with the process."""
        if self._path is None:
            return
        try:
            there = _inode(self._path)
        except OSError as exc:
            raise StateLost(f"the state file {self._path.name} was taken away") from exc
        if there != self._inode:
            raise StateLost(f"the state file {self._path.name} was replaced by another")


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
