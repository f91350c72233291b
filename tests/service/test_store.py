import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import ConfigurationError
from rm_core.rewards import Statistics, merge, statistics_of
from service.ledger import IdempotencyKey, LedgerLimits, StoredReply
from service.state_errors import (
    IdempotencyConflict,
    StateUnavailable,
    TooManyStreams,
    UnknownStream,
)
from service.store import StateStore, StoreLimits, Transaction
from service.streams import Stream

ROOT = Path(__file__).resolve().parents[2]


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[StateStore]:
    store = StateStore(tmp_path / "state.sqlite3", clock=clock)
    await store.open()
    yield store
    await store.close()


def key(name: str, body: bytes = b"body") -> IdempotencyKey:
    return IdempotencyKey(name, body.ljust(32, b"\0"))


def adding(
    *values: float, name: str = "run", ids: tuple[str, ...] = (), reply: bytes = b"reply"
) -> Callable[[Transaction], StoredReply]:
    def work(transaction: Transaction) -> StoredReply:
        stream = transaction.stream(name) or Stream(name)
        merged = stream.merged(statistics_of(values), num_samples=len(values), now=transaction.now)
        transaction.save(merged, ids)
        return StoredReply(200, reply)

    return work


async def test_what_a_request_changes_is_there_after_it(store: StateStore) -> None:
    applied = await store.apply(adding(1.0, 3.0))

    found = await store.get("run")
    assert found.statistics == Statistics(2.0, 2.0, 2.0)
    assert (found.num_samples, found.version, found.generation) == (2, 1, 0)
    assert applied.saved == found
    assert not applied.replayed


async def test_the_same_key_and_body_give_the_same_bytes_and_count_once(store: StateStore) -> None:
    first = await store.apply(adding(1.0, reply=b"first"), key=key("a"))
    again = await store.apply(adding(5.0, reply=b"second"), key=key("a"))

    assert (again.reply, again.replayed) == (first.reply, True)
    assert (await store.get("run")).num_samples == 1
    assert await store.replay(key("a")) == StoredReply(200, b"first")
    assert await store.replay(key("b")) is None


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(
    store: StateStore,
) -> None:
    await store.apply(adding(1.0), key=key("a"))

    with pytest.raises(IdempotencyConflict):
        await store.apply(adding(5.0), key=key("a", b"other"))
    with pytest.raises(IdempotencyConflict):
        await store.replay(key("a", b"other"))

    assert (await store.get("run")).num_samples == 1


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


async def test_an_item_id_counts_once_in_its_stream_and_apart_in_another(
    store: StateStore,
) -> None:
    await store.apply(adding(1.0, 2.0, ids=("x", "y")))
    asked: list[set[str]] = []

    def ask(transaction: Transaction) -> StoredReply:
        for name in ("run", "other"):
            stream = transaction.stream(name) or Stream(name)
            asked.append(transaction.counted(stream, ["x", "y", "z", "\ud800"]))
        return StoredReply(200, b"")

    await store.apply(ask)
    assert asked == [{"x", "y"}, set()]


async def test_counted_ids_are_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    store = StateStore(None, limits=StoreLimits(max_ids_per_stream=3))
    await store.open()
    await store.apply(adding(1.0, ids=("a", "b")))
    applied = await store.apply(adding(1.0, ids=("c", "d")))
    asked: list[set[str]] = []

    def ask(transaction: Transaction) -> StoredReply:
        stream = transaction.stream("run")
        assert stream is not None
        asked.append(transaction.counted(stream, ["a", "b", "c", "d"]))
        return StoredReply(200, b"")

    await store.apply(ask)
    assert applied.ids_forgotten == 1
    assert asked == [{"b", "c", "d"}]
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
    store = StateStore(None, limits=StoreLimits(ledger=limits), clock=clock)
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


async def test_the_same_snapshot_again_changes_nothing(store: StateStore) -> None:
    snapshot: dict[str, Any] = {
        "statistics": Statistics(100.0, 0.5, 99.0),
        "half_life": 1000.0,
        "frozen": False,
    }

    first = await store.put("run", **snapshot)
    again = await store.put("run", **snapshot)

    assert first == again
    assert (first.version, first.generation) == (1, 0)


async def test_a_restore_begins_a_generation_that_counts_the_same_ids_and_keys_again(
    store: StateStore,
) -> None:
    before = (await store.apply(adding(1.0, 2.0, 6.0, ids=("x",)), key=key("step-1"))).saved
    assert before is not None
    await store.apply(adding(50.0, ids=("y",)), key=key("step-2"))
    await store.apply(adding(1.0, name="other"), key=key("other-1"))

    restored = await store.put("run", statistics=before.statistics, half_life=None, frozen=False)
    await store.apply(adding(60.0, ids=("y",)), key=key("step-2", b"new samples"))

    assert restored.statistics == before.statistics
    assert restored.generation == 1
    found = await store.get("run")
    assert found.statistics == merge(before.statistics, statistics_of([60.0]))
    assert await store.replay(key("other-1")) is not None


async def test_a_restore_also_frees_the_keys_of_requests_that_only_used_the_stream(
    store: StateStore,
) -> None:
    def reading(transaction: Transaction) -> StoredReply:
        transaction.stream("run")
        return StoredReply(200, b"evaluation")

    await store.apply(adding(1.0, 2.0))
    await store.apply(reading, key=key("evaluation-1"))

    await store.reset("run", Statistics())

    assert await store.replay(key("evaluation-1")) is None


async def test_configuring_a_stream_keeps_its_statistics_ids_and_keys(store: StateStore) -> None:
    await store.apply(adding(1.0, 2.0, ids=("x",)), key=key("a"))

    frozen = await store.put("run", statistics=None, half_life=10.0, frozen=True)

    assert frozen.statistics == statistics_of([1.0, 2.0])
    assert (frozen.generation, frozen.version, frozen.frozen, frozen.half_life) == (0, 2, True, 10)
    assert await store.replay(key("a")) is not None


async def test_a_reset_is_a_new_generation_from_the_start(store: StateStore) -> None:
    await store.apply(adding(1.0, 2.0, ids=("x",)))

    reset = await store.reset("run", Statistics())

    assert (reset.statistics, reset.num_samples, reset.generation) == (Statistics(), 0, 1)
    assert await store.get("run") == reset


async def test_a_forgotten_stream_is_gone(store: StateStore) -> None:
    await store.apply(adding(1.0))

    await store.forget("run")

    assert await store.get_all() == []
    for attempt in (store.get("run"), store.reset("run", Statistics()), store.forget("run")):
        with pytest.raises(UnknownStream):
            await attempt


async def test_streams_are_listed_by_name(store: StateStore) -> None:
    for name in ("b", "a", "c"):
        await store.apply(adding(1.0, name=name))

    assert [stream.name for stream in await store.get_all()] == ["a", "b", "c"]


async def test_the_number_of_streams_is_bounded() -> None:
    store = StateStore(None, limits=StoreLimits(max_streams=1))
    await store.open()
    await store.apply(adding(1.0, name="first"))

    with pytest.raises(TooManyStreams):
        await store.apply(adding(1.0, name="second"), key=key("a"))

    await store.apply(adding(1.0, name="first"))
    assert await store.replay(key("a")) is None
    await store.close()


async def test_the_past_decays_with_the_streams_half_life(store: StateStore) -> None:
    await store.put("run", statistics=Statistics(100.0, 5.0, 99.0), half_life=10.0, frozen=False)

    await store.apply(adding(*([0.0] * 10)))

    # the past counts 50 after one half-life: mean (50·5 + 10·0) / 60
    assert (await store.get("run")).statistics.mean == pytest.approx(250.0 / 60.0)


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


async def test_commits_wait_for_the_disk(store: StateStore) -> None:
    assert store._connection is not None
    (synchronous,) = store._connection.execute("PRAGMA synchronous").fetchone()
    (journal,) = store._connection.execute("PRAGMA journal_mode").fetchone()

    assert (synchronous, journal) == (2, "wal")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state.sqlite3")
    with pytest.raises(StateUnavailable):
        await store.get_all()


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


async def test_a_file_that_is_no_state_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_bytes(b"not a database" * 100)

    with pytest.raises(ConfigurationError, match="move the file away"):
        await StateStore(path).open()
