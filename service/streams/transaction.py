"""What one request may do to the state, and what became of it."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.errors import TooManyStreams
from service.streams import stream_table as streams
from service.streams.ledger_table import LedgerLimits, StoredReply
from service.streams.stream_table import Stream
from service.streams.unanswered_table import Unanswered, UnansweredLimits


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
        replayed: True where they were kept from before and nothing was changed.
        saved: the stream as the request left it; None where it changed none.
        committed_at: unix time, seconds.
        ids_forgotten: item ids that went to keep the bound.
        replies_evicted: ledger rows that went to keep the bound.
        commit_seconds: how long the commit took, the disk included.
        ledger_entries: replies remembered afterwards.
        unanswered: of a keyless request that counted something, until `settle`; None for others.
    """

    reply: StoredReply
    replayed: bool = False
    saved: Stream | None = None
    committed_at: float = 0.0
    ids_forgotten: int = 0
    replies_evicted: int = 0
    commit_seconds: float = 0.0
    ledger_entries: int = 0
    unanswered: Unanswered | None = None


class Transaction:
    """What a request may do to the state, before its commit; lives on the store's thread only.

    Args:
        connection: in a transaction.
        limits: bounds.
        now: unix time, seconds.
    """

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

    def counted(self, stream: Stream, ids: Sequence[str]) -> dict[str, bytes | None]:
        """Which of these item ids the stream has counted, and the digest of each one's text."""
        return streams.counted(self._connection, stream, ids)

    def save(self, stream: Stream, new_items: Mapping[str, bytes | None] | None = None) -> Stream:
        """Write the stream, and the ids it has just counted with the digests of their texts.

        Raises:
            TooManyStreams: the stream is new and the file holds as many as it may.
        """
        if not stream.id:
            self._require_room()
            stream = replace(stream, created=self.now, updated=self.now)
            stream = streams.save(self._connection, stream)
        stream, forgotten = streams.count_items(
            self._connection, stream, new_items or {}, max_ids=self._limits.max_ids_per_stream
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
