"""The durable state: one SQLite file, one thread that touches it, one transaction per request.

Statistics, counted item ids and the ledger row of a request commit together or not at all, so that
a request which is sent again after any crash either finds its reply or finds no trace of itself.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rm_core.rewards import Statistics
from service.errors import IdempotencyConflict, StateUnavailable, UnknownStream
from service.streams import ledger_table as ledger
from service.streams import stream_table as streams
from service.streams import unanswered_table
from service.streams.database import Recovery
from service.streams.faults import Fault, FaultWatch
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.state_clock import StateClock
from service.streams.state_file import StateFile
from service.streams.stream_table import Stream
from service.streams.transaction import Applied, StoreLimits, Transaction
from service.streams.unanswered_table import Unanswered, UnansweredRequests

Result = TypeVar("Result")


class StateStore:
    """Streams and ledger in one SQLite file (WAL, synchronous=FULL).

    Every method that ends in `_now` blocks and runs on the store's own thread; the others are
    coroutines that wait for it, so that the event loop never touches the disk.

    Args:
        path: the database file; None keeps the state in memory.
        limits: bounds.
        clock: unix time in seconds, which streams tell.
        monotonic: seconds that nobody sets, by which keys and lost replies grow old.
        on_fault: told of every fault that begins, and None when one ends; on the store's thread.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limits: StoreLimits | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_fault: Callable[[Fault | None], None] = lambda _: None,
    ) -> None:
        self.limits = limits if limits is not None else StoreLimits()
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._faults = FaultWatch(on_fault, monotonic)
        self._file = StateFile(path, StateClock(clock, monotonic), self._faults)
        self._unanswered = UnansweredRequests(self.limits.unanswered)

    @property
    def recovery(self) -> Recovery:
        """What was found when the file was opened."""
        return self._file.recovery

    @property
    def fault(self) -> Fault | None:
        """Why the state can't be used; None while it can."""
        return self._faults.fault

    async def open(self) -> None:
        """Open or create the file; one that was there and can't be used is a `fault`.

        Raises:
            ConfigurationError: it can't be made, is no state file of ours, or is newer than us.
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
        """Run `work` in one transaction with its ledger row; see `apply_now`.

        Where the caller is cancelled meanwhile, a keyless reply is lost that nobody will send.
        """
        return await self._run(
            self.apply_now, work, key, unanswered, orphaned=lambda applied: applied.unanswered
        )

    async def claim(self, digest: bytes) -> Unanswered | None:
        """What the oldest equal request left whose reply was lost; the caller's until `settle`."""
        return await self._run(self.claim_now, digest, orphaned=lambda claimed: claimed)

    async def settle(self, unanswered: Unanswered, *, answered: bool) -> None:
        """Say that a keyless request's reply has left, or never will."""
        await self._run(self.settle_now, unanswered, answered)

    def lose(self, unanswered: Unanswered) -> None:
        """Say that a reply which had left was lost on its way after all; nobody waits for it."""
        with contextlib.suppress(RuntimeError):  # the store has been closed meanwhile
            self._thread.submit(self.lose_now, unanswered)

    async def try_again(self) -> None:
        """See whether a fault has ended, where that may be; at most once a second."""
        if self._faults.may_probe():
            with contextlib.suppress(StateUnavailable):
                await self._run(self._file.try_to_write)

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
        self._file.open()

    def close_now(self) -> None:
        """See `close`."""
        self._file.close()

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
            unanswered: digest of a request without one; what it counted is kept until `settle`.

        Raises:
            IdempotencyConflict: the key stands for another body.
            StateUnavailable: the file can't be written.
        """
        kept: Unanswered | None = None
        with self._file.transaction() as (connection, now):
            if key is not None and (known := self._known(connection, key)) is not None:
                return Applied(known, replayed=True)
            if unanswered is not None:
                # An equal one may have lost its reply while this one was at work.
                lost = self._unanswered.claim(connection, unanswered, now=now)
                if lost is not None:
                    return Applied(StoredReply(200, lost.settlement), True, unanswered=lost)
            transaction = Transaction(connection, self.limits, self._clock())
            reply = work(transaction)
            evicted = 0
            if key is not None:
                ledger.insert(connection, key, reply, stream_id=transaction.used_id, now=now)
                evicted = ledger.evict(connection, self.limits.ledger, now=now)
            if unanswered is not None and transaction.saved is not None:
                kept = self._unanswered.insert(
                    connection, unanswered, reply.body, stream_id=transaction.used_id, now=now
                )
            remembered = ledger.entries(connection)
            began = time.perf_counter()
        if kept is not None:
            self._unanswered.being_answered(kept.receipt)
        return Applied(
            reply,
            saved=transaction.saved,
            committed_at=transaction.now,
            ids_forgotten=transaction.ids_forgotten,
            replies_evicted=evicted,
            commit_seconds=time.perf_counter() - began,
            ledger_entries=remembered,
            unanswered=kept,
        )

    def replay_now(self, key: IdempotencyKey) -> StoredReply | None:
        """See `replay`."""
        with self._file.reading() as connection:
            return self._known(connection, key)

    def claim_now(self, digest: bytes) -> Unanswered | None:
        """See `claim`."""
        with self._file.reading() as connection:
            return self._unanswered.claim(connection, digest, now=self._file.now())

    def settle_now(self, unanswered: Unanswered, answered: bool) -> None:
        """See `settle`."""
        with self._file.reading() as connection:
            self._unanswered.settle(connection, unanswered.receipt, answered=answered)

    def lose_now(self, lost: Unanswered) -> None:
        """See `lose`."""
        with self._file.transaction() as (connection, now):
            self._unanswered.insert(
                connection, lost.digest, lost.settlement, stream_id=lost.stream_id, now=now
            )

    def get_now(self, name: str) -> Stream:
        """See `get`."""
        with self._file.reading() as connection:
            return self._existing(connection, name)

    def get_all_now(self) -> list[Stream]:
        """See `get_all`."""
        with self._file.reading() as connection:
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
        with self._file.transaction() as (connection, _):
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
        with self._file.transaction() as (connection, _):
            found = self._existing(connection, name)
            self._clear(connection, found)
            return streams.save(connection, found.set_back(statistics, now=now))

    def forget_now(self, name: str) -> None:
        """See `forget`."""
        with self._file.transaction() as (connection, _):
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

    async def _run(
        self,
        call: Callable[..., Result],
        *arguments: Any,
        orphaned: Callable[[Result], Unanswered | None] = lambda _: None,
    ) -> Result:
        """Wait for a call on the store's thread.

        A caller that is cancelled stops waiting; the transaction still ends one way or the other,
        and what it keeps for a reply that nobody will send is given free.
        """
        future = self._thread.submit(call, *arguments)

        def give_free(ended: "Future[Result]") -> None:
            if ended.cancelled() or ended.exception() is not None:
                return
            if (kept := orphaned(ended.result())) is not None:
                with contextlib.suppress(RuntimeError):  # the store has been closed meanwhile
                    self._thread.submit(self.settle_now, kept, answered=False)

        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(give_free)
            raise
