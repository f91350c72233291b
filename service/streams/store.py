"""The durable state: one SQLite file, one thread that touches it, one transaction per request.

Statistics, counted item ids and the ledger row of a request commit together or not at all, so that
a request which is sent again after any crash either finds its reply or finds no trace of itself.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rm_core.rewards import Statistics
from service.errors import IdempotencyConflict, StateUnavailable, TooManyStreams, UnknownStream
from service.streams import ledger_table as ledger
from service.streams import stream_table as streams
from service.streams import unanswered_table
from service.streams.database import Recovery, open_database
from service.streams.ledger_table import IdempotencyKey, LedgerLimits, StoredReply
from service.streams.stream_table import Stream
from service.streams.unanswered_table import Claimed, UnansweredLimits, UnansweredRequests

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of everything that the file holds.

    Attributes:
        ledger: of the replies.
        unanswered: of keyless requests whose reply did not leave.
        max_streams: the most streams.
        max_ids_per_stream: how many counted item ids a stream remembers, newest first.
    """

    ledger: LedgerLimits = field(default_factory=LedgerLimits)
    unanswered: UnansweredLimits = field(default_factory=UnansweredLimits)
    max_streams: int = 10_000
    max_ids_per_stream: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one request.

    Attributes:
        reply: the bytes to send.
        replayed: True where they come from the ledger and nothing was changed.
        saved: the stream as the request left it; None where it changed none.
        committed_at: unix time, seconds.
        ids_forgotten: item ids that went to keep the bound.
        replies_evicted: ledger rows that went to keep the bound.
        commit_seconds: how long the commit took, the disk included.
        ledger_entries: replies remembered afterwards.
        receipt: of a keyless request, until `settle`; 0 for others.
    """

    reply: StoredReply
    replayed: bool = False
    saved: Stream | None = None
    committed_at: float = 0.0
    ids_forgotten: int = 0
    replies_evicted: int = 0
    commit_seconds: float = 0.0
    ledger_entries: int = 0
    receipt: int = 0


class Transaction:
    """What a request may do to the state, before its commit; lives on the store's thread only."""

    def __init__(self, connection: sqlite3.Connection, limits: StoreLimits, now: float) -> None:
        self._connection = connection
        self._limits = limits
        self.now = now
        self.used: Stream | None = None
        self.saved: Stream | None = None
        self.ids_forgotten = 0

    def stream(self, name: str) -> Stream | None:
        """The stream of that name, or None."""
        self.used = streams.find(self._connection, name)
        return self.used

    @property
    def used_id(self) -> int | None:
        """Of the stream that the request read or wrote; None where it did neither."""
        return None if self.used is None else self.used.id

    def counted(self, stream: Stream, ids: Sequence[str]) -> set[str]:
        """Which of these item ids the stream has counted."""
        return streams.counted(self._connection, stream, ids)

    def save(self, stream: Stream, new_ids: Sequence[str] = ()) -> Stream:
        """Write the stream and the ids it has just counted.

        Raises:
            TooManyStreams: the stream is new and the file holds as many as it may.
        """
        if not stream.id:
            self._require_room()
            stream = replace(stream, created=self.now, updated=self.now)
            stream = streams.save(self._connection, stream)
        stream, forgotten = streams.count_items(
            self._connection, stream, new_ids, max_ids=self._limits.max_ids_per_stream
        )
        self.ids_forgotten += forgotten
        self.used = self.saved = streams.save(self._connection, stream)
        return self.saved

    def _require_room(self) -> None:
        if streams.number_of(self._connection) >= self._limits.max_streams:
            raise TooManyStreams(
                f"there are {self._limits.max_streams} streams, the most that are kept",
                field="stream",
            )


class StateStore:
    """Streams and ledger in one SQLite file (WAL, synchronous=FULL).

    Every method that ends in `_now` blocks and runs on the store's own thread; the others are
    coroutines that wait for it, so that the event loop never touches the disk.

    Args:
        path: the database file; None keeps the state in memory.
        limits: bounds.
        clock: unix time in seconds.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limits: StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits if limits is not None else StoreLimits()
        self._path = path
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._connection: sqlite3.Connection | None = None
        self._unanswered = UnansweredRequests(self.limits.unanswered)
        self.recovery: Recovery = "clean"

    async def open(self) -> None:
        """Open or create the file.

        Raises:
            ConfigurationError: it can't be opened, is no state file of ours, or is newer than us.
        """
        await self._run(self.open_now)

    async def close(self) -> None:
        """Finish what was begun, fold the log into the file and close it."""
        await self._run(self.close_now)
        self._thread.shutdown(wait=True)

    async def apply(
        self,
        work: Callable[[Transaction], StoredReply],
        *,
        key: IdempotencyKey | None = None,
        unanswered: bytes | None = None,
    ) -> Applied:
        """Run `work` in one transaction with its ledger row; see `apply_now`."""
        return await self._run(self.apply_now, work, key, unanswered)

    async def claim(self, digest: bytes) -> Claimed | None:
        """What the oldest equal request left whose reply was lost; the caller's until `settle`."""
        return await self._run(self.claim_now, digest)

    async def settle(self, receipt: int, *, answered: bool) -> None:
        """Say that a keyless request's reply has left, or never will."""
        await self._run(self.settle_now, receipt, answered)

    async def replay(self, key: IdempotencyKey) -> StoredReply | None:
        """The remembered reply of a key, if there is one.

        Raises:
            IdempotencyConflict: the key stands for another body.
        """
        return await self._run(self.replay_now, key)

    async def get(self, name: str) -> Stream:
        """The stream.

        Raises:
            UnknownStream: there is none of that name.
        """
        return await self._run(self.get_now, name)

    async def get_all(self) -> list[Stream]:
        """Every stream, by name."""
        return await self._run(self.get_all_now)

    async def put(
        self,
        name: str,
        *,
        statistics: Statistics | None,
        half_life: float | None,
        frozen: bool,
    ) -> Stream:
        """Create or restore a stream; see `put_now`."""
        return await self._run(self.put_now, name, statistics, half_life, frozen)

    async def reset(self, name: str, statistics: Statistics) -> Stream:
        """Set a stream back to `statistics`: a new generation that has counted nothing."""
        return await self._run(self.reset_now, name, statistics)

    async def forget(self, name: str) -> None:
        """Delete a stream altogether."""
        await self._run(self.forget_now, name)

    def open_now(self) -> None:
        """See `open`."""
        self._connection, self.recovery = open_database(self._path)

    def close_now(self) -> None:
        """See `close`."""
        if self._connection is not None:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
            self._connection = None

    def apply_now(
        self,
        work: Callable[[Transaction], StoredReply],
        key: IdempotencyKey | None = None,
        unanswered: bytes | None = None,
    ) -> Applied:
        """Answer a request once: what it changes and its ledger row commit together.

        Args:
            work: reads and changes the state and gives the reply; runs on the store's thread. An
                exception of its own undoes everything.
            key: the request's idempotency key, if it came with one.
            unanswered: digest of a request without one, whose reply is kept until `settle`.

        Raises:
            IdempotencyConflict: the key stands for another body.
            StateUnavailable: the file can't be written.
        """
        now = self._clock()
        with self._transaction() as connection:
            if key is not None and (known := self._known(connection, key)) is not None:
                return Applied(known, replayed=True)
            transaction = Transaction(connection, self.limits, now)
            reply = work(transaction)
            evicted = 0
            if key is not None:
                ledger.insert(connection, key, reply, stream_id=transaction.used_id, now=now)
                evicted = ledger.evict(connection, self.limits.ledger, now=now)
            receipt = 0
            if unanswered is not None:
                receipt = self._unanswered.insert(
                    connection, unanswered, reply.body, stream_id=transaction.used_id, now=now
                )
            remembered = ledger.entries(connection)
            began = time.perf_counter()
        if receipt:
            self._unanswered.being_answered(receipt)
        return Applied(
            reply,
            saved=transaction.saved,
            committed_at=now,
            ids_forgotten=transaction.ids_forgotten,
            replies_evicted=evicted,
            commit_seconds=time.perf_counter() - began,
            ledger_entries=remembered,
            receipt=receipt,
        )

    def replay_now(self, key: IdempotencyKey) -> StoredReply | None:
        """See `replay`."""
        with self._reading() as connection:
            return self._known(connection, key)

    def claim_now(self, digest: bytes) -> Claimed | None:
        """See `claim`."""
        with self._reading() as connection:
            return self._unanswered.claim(connection, digest, now=self._clock())

    def settle_now(self, receipt: int, answered: bool) -> None:
        """See `settle`."""
        with self._reading() as connection:
            self._unanswered.settle(connection, receipt, answered=answered)

    def get_now(self, name: str) -> Stream:
        """See `get`."""
        with self._reading() as connection:
            return self._existing(connection, name)

    def get_all_now(self) -> list[Stream]:
        """See `get_all`."""
        with self._reading() as connection:
            return streams.find_all(connection)

    def put_now(
        self, name: str, statistics: Statistics | None, half_life: float | None, frozen: bool
    ) -> Stream:
        """Create or restore a stream; the same snapshot again changes nothing.

        Args:
            name: the stream's name, valid.
            statistics: to restore; None keeps what the stream has (nothing, if it is new).
            half_life: samples after which the past counts half; None forgets nothing.
            frozen: whether updates are refused.
        """
        now = self._clock()
        with self._transaction() as connection:
            found = streams.find(connection, name)
            transaction = Transaction(connection, self.limits, now)
            if found is None:
                fresh = Stream(
                    name, statistics or Statistics(), version=1, half_life=half_life, frozen=frozen
                )
                return transaction.save(fresh)
            changed = replace(found, half_life=half_life, frozen=frozen)
            if statistics is not None and statistics != found.statistics:
                self._clear(connection, found)
                changed = changed.set_back(statistics, now=now)
            elif changed != found:
                changed = replace(changed, version=found.version + 1, updated=now)
            return found if changed == found else transaction.save(changed)

    def reset_now(self, name: str, statistics: Statistics) -> Stream:
        """See `reset`."""
        now = self._clock()
        with self._transaction() as connection:
            found = self._existing(connection, name)
            self._clear(connection, found)
            return streams.save(connection, found.set_back(statistics, now=now))

    def forget_now(self, name: str) -> None:
        """See `forget`."""
        with self._transaction() as connection:
            found = self._existing(connection, name)
            self._clear(connection, found)
            streams.delete(connection, found)

    def _known(self, connection: sqlite3.Connection, key: IdempotencyKey) -> StoredReply | None:
        row = ledger.find(connection, key.key)
        if row is None:
            return None
        if row.digest != key.digest:
            raise IdempotencyConflict(
                "this Idempotency-Key was used with another body; "
                "use a new key for a new request, and the same body for a retry"
            )
        return row.reply

    def _existing(self, connection: sqlite3.Connection, name: str) -> Stream:
        found = streams.find(connection, name)
        if found is None:
            raise UnknownStream
        return found

    def _clear(self, connection: sqlite3.Connection, stream: Stream) -> None:
        streams.forget_items(connection, stream)
        ledger.forget_stream(connection, stream.id)
        unanswered_table.forget_stream(connection, stream.id)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise StateUnavailable("the state is closed; the server is stopping")
        try:
            yield self._connection
        except sqlite3.Error as exc:
            raise StateUnavailable(
                "the state file can't be used now; see the server's log, then try again"
            ) from exc

    async def _run(self, call: Callable[..., Result], *arguments: Any) -> Result:
        # A caller that is cancelled stops waiting; the transaction still ends one way or the other.
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
