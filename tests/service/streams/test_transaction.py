"""What one request may do to the state."""

from service.streams.ledger_table import StoredReply
from service.streams.store import StateStore
from service.streams.stream_table import Stream
from service.streams.transaction import Transaction


async def test_it_tells_which_stream_was_used_and_which_was_changed(store: StateStore) -> None:
    seen: list[tuple[int | None, str | None]] = []

    def work(transaction: Transaction) -> StoredReply:
        seen.append((transaction.used_id, None))
        saved = transaction.save(Stream("run"), {"x": b"text", "y": None})
        assert transaction.saved is not None
        seen.append((transaction.used_id, transaction.saved.name))
        assert transaction.counted(saved, ["x", "y", "z"]) == {"x": b"text", "y": None}
        return StoredReply(200, b"")

    applied = await store.apply(work)

    assert seen == [(None, None), (1, "run")]
    assert applied.saved is not None
    assert (applied.saved.num_ids, applied.unanswered) == (2, None)


async def test_reading_a_stream_uses_it_and_changes_nothing(store: StateStore) -> None:
    def write(transaction: Transaction) -> StoredReply:
        transaction.save(Stream("run"))
        return StoredReply(200, b"")

    def read(transaction: Transaction) -> StoredReply:
        assert transaction.stream("run") is not None
        assert (transaction.used_id, transaction.saved) == (1, None)
        return StoredReply(200, b"")

    await store.apply(write)

    assert (await store.apply(read, unanswered=b"digest")).unanswered is None
