"""What the store keeps is bounded: ids, replies, streams."""

import pytest

from service.errors import TooManyStreams
from service.streams.ledger_table import LedgerLimits, StoredReply
from service.streams.store import StateStore
from service.streams.transaction import StoreLimits, Transaction
from tests.service.streams.store_calls import FakeClock, adding, key


async def test_counted_ids_are_bounded_and_the_oldest_go() -> None:
    store = StateStore(None, limits=StoreLimits(max_ids_per_stream=3))
    await store.open()
    await store.apply(adding(1.0, ids=("a", "b")))
    await store.apply(adding(1.0, ids=("a",), name="later"))
    applied = await store.apply(adding(1.0, ids=("c", "d")))
    asked: list[set[str]] = []

    def ask(transaction: Transaction) -> StoredReply:
        for name in ("run", "later"):
            stream = transaction.stream(name)
            assert stream is not None
            asked.append(set(transaction.counted(stream, ["a", "b", "c", "d"])))
        return StoredReply(200, b"")

    await store.apply(ask)
    assert applied.ids_forgotten == 1
    assert asked == [{"b", "c", "d"}, {"a"}]
    await store.close()


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (LedgerLimits(max_rows=2), {"d", "e"}),
        (LedgerLimits(max_bytes=25), {"d", "e"}),
        (LedgerLimits(max_age_seconds=25.0), {"c", "d", "e"}),
        (LedgerLimits(max_bytes=1), {"e"}),
        (LedgerLimits(), {"a", "b", "c", "d", "e"}),
    ],
)
async def test_the_ledger_is_bounded_and_counts_what_goes(
    limits: LedgerLimits, kept: set[str], clock: FakeClock
) -> None:
    store = StateStore(None, limits=StoreLimits(ledger=limits), clock=clock, monotonic=clock)
    await store.open()

    evicted = 0
    for name in "abcde":
        applied = await store.apply(adding(1.0, reply=b"0123456789"), key=key(name))
        evicted += applied.replies_evicted
        clock.now += 10.0

    found = {name for name in "abcde" if await store.replay(key(name)) is not None}
    assert found == kept
    assert evicted == 5 - len(kept)
    assert applied.ledger_entries == len(kept)
    await store.close()


async def test_the_number_of_streams_is_bounded() -> None:
    store = StateStore(None, limits=StoreLimits(max_streams=1))
    await store.open()
    await store.apply(adding(1.0, name="first"))

    with pytest.raises(TooManyStreams):
        await store.apply(adding(1.0, name="second"), key=key("a"))

    await store.apply(adding(1.0, name="first"))
    assert await store.replay(key("a")) is None
    await store.close()
