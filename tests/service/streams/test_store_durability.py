"""All of a transaction or nothing of it: failures, writers at the same time, kill -9."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rm_core.rewards import Statistics, merge, statistics_of
from service.errors import StateUnavailable
from service.streams.ledger_table import StoredReply
from service.streams.store import StateStore, Transaction
from tests.service.streams.store_calls import adding, key

ROOT = Path(__file__).resolve().parents[3]


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


def kill_often(tmp_path: Path, kind: str, num_kills: int) -> dict[str, Any]:
    worker = Path(__file__).with_name("crash_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(tmp_path / "s.db"), kind, str(num_kills), "20"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_three_hundred_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    result = kill_often(tmp_path, "sound", 300)

    assert result["green"], result
    assert result["count"] == result["expected"]
    assert result["wal_replays"] > 100


def test_the_same_checker_goes_red_if_the_ledger_row_is_outside_the_transaction(
    tmp_path: Path,
) -> None:
    result = kill_often(tmp_path, "outside", 60)

    assert not result["green"]
    assert result["count"] > result["expected"]


def test_sqlite_is_recent_enough_for_the_statements_used() -> None:
    assert sqlite3.sqlite_version_info >= (3, 33)
