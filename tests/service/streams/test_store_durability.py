"""All of a transaction or nothing of it: failures, writers at the same time, cancellations."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from rm_core.rewards import Statistics, merge, statistics_of
from service.errors import StateUnavailable
from service.streams.ledger_table import StoredReply
from service.streams.store import StateStore
from service.streams.transaction import Transaction
from tests.service.streams.store_calls import adding, key


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    for number in range(3):
        store = StateStore(tmp_path / "state.sqlite3")
        await store.open()
        applied = await store.apply(adding(1.0, reply=b"%d" % number), key=key("a"))
        assert applied.reply.body == b"0"
        await store.close()

    assert not (tmp_path / "state.sqlite3-wal").exists()


async def test_a_request_that_fails_half_way_leaves_no_trace(store: StateStore) -> None:
    def failing(transaction: Transaction) -> StoredReply:
        adding(1.0, ids=("x",))(transaction)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        await store.apply(failing, key=key("a"))

    assert await store.get_all() == []
    assert await store.replay(key("a")) is None
    await store.apply(adding(2.0, ids=("x",)), key=key("a"))
    assert (await store.get("run")).num_samples == 1


async def test_a_ledger_row_that_cant_be_written_takes_the_statistics_back(
    store: StateStore,
) -> None:
    def without_ledger(transaction: Transaction) -> StoredReply:
        reply = adding(1.0)(transaction)
        transaction._connection.execute("DROP TABLE ledger")
        return reply

    with pytest.raises(StateUnavailable):
        await store.apply(without_ledger, key=key("a"))

    assert await store.get_all() == []
    await store.apply(adding(1.0), key=key("a"))


async def test_thirty_two_writers_leave_what_they_would_one_after_another(
    store: StateStore,
) -> None:
    seen: list[tuple[int, Statistics]] = []

    def writing(values: list[float]) -> Callable[[Transaction], StoredReply]:
        def work(transaction: Transaction) -> StoredReply:
            reply = adding(*values)(transaction)
            assert transaction.saved is not None
            seen.append((transaction.saved.version, statistics_of(values)))
            return reply

        return work

    async def writer(number: int) -> None:
        for step in range(10):
            values = [float(number), float(step), number * 0.1 - step]
            await store.apply(writing(values), key=key(f"{number}-{step}"))

    await asyncio.gather(*(writer(number) for number in range(32)))

    serial = Statistics()
    for _, batch in sorted(seen, key=lambda entry: entry[0]):
        serial = merge(serial, batch)
    found = await store.get("run")
    assert found.statistics == serial
    assert (found.num_samples, found.version) == (960, 320)
    assert [version for version, _ in seen] == list(range(1, 321))


async def test_readers_see_only_what_was_committed(store: StateStore) -> None:
    history = {Statistics()}
    current = Statistics()
    for number in range(60):
        current = merge(current, statistics_of([float(number)]))
        history.add(current)

    async def write() -> None:
        for number in range(60):
            await store.apply(adding(float(number)))

    async def read() -> None:
        for _ in range(60):
            for stream in await store.get_all():
                assert stream.statistics in history

    await asyncio.gather(write(), read(), read())


async def test_a_cancelled_caller_leaves_the_store_whole(store: StateStore) -> None:
    task = asyncio.create_task(store.apply(adding(1.0), key=key("a")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    counted = sum(stream.num_samples for stream in await store.get_all())
    known = await store.replay(key("a"))
    assert counted == (known is not None)


def test_sqlite_is_recent_enough_for_the_statements_used() -> None:
    assert sqlite3.sqlite_version_info >= (3, 33)
