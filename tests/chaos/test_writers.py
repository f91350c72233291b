"""Many writers at once, some of which give up: what is left is what their order of commits says."""

import asyncio
import json
import random
import sqlite3
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from rm_core.rewards import Statistics, merge, statistics_of
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.store import StateStore
from service.streams.stream_table import Stream
from service.streams.transaction import Transaction
from tests.chaos.conftest import Chaos

NUM_WRITERS = 32
BEFORE = Statistics()

Batch = tuple[int, list[float], Statistics]
"""A version, the values that led to it, and the statistics that were answered."""


def counting(values: list[float]) -> Callable[[Transaction], StoredReply]:
    def work(transaction: Transaction) -> StoredReply:
        stream = transaction.stream("run") or Stream("run")
        merged = stream.merged(statistics_of(values), num_samples=len(values), now=transaction.now)
        saved = transaction.save(merged)
        return StoredReply(200, json.dumps([saved.version, *saved.statistics]).encode())

    return work


async def write(store: StateStore, number: int, steps: int, chance: random.Random) -> list[Batch]:
    """Batches under keys; one in three gives up at some instant and asks again, until answered."""
    done = []
    for step in range(steps):
        values = [chance.gauss(0.5, 2.0) for _ in range(chance.randrange(1, 4))]
        key = IdempotencyKey(f"{number}/{step}", bytes(32))
        while True:
            asked = asyncio.create_task(store.apply(counting(values), key=key))
            if chance.random() < 1 / 3:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                asked.cancel()
            try:
                applied = await asked
            except asyncio.CancelledError:
                continue
            break
        version, *statistics = json.loads(applied.reply.body)
        done.append((version, values, Statistics(*statistics)))
    return done


async def test_writers_that_give_up_and_ask_again_leave_a_serial_history(
    tmp_path: Path, chaos: Chaos
) -> None:
    path = tmp_path / "streams.sqlite3"
    store = StateStore(path)
    await store.open()
    seen: set[tuple[int, Statistics]] = set()
    over = threading.Event()
    reader = threading.Thread(target=read_until, args=(path, over, seen))
    reader.start()
    steps = chaos.times(8, 5000)

    writers = (write(store, one, steps, chaos.random(one)) for one in range(NUM_WRITERS))
    batches = [batch for own in await asyncio.gather(*writers) for batch in own]
    over.set()
    reader.join()

    history = {0: BEFORE}
    for version, values, answered in sorted(batches):
        history[version] = merge(history[version - 1], statistics_of(values))
        assert answered == history[version]
    assert len(history) == NUM_WRITERS * steps + 1
    found = await store.get("run")
    assert (found.version, found.statistics) == (len(history) - 1, history[len(history) - 1])
    assert found.num_samples == sum(len(values) for _, values, _ in batches)
    assert len(seen) > 1
    assert torn(seen, history) == set()
    await store.close()


def read_until(path: Path, over: threading.Event, seen: set[tuple[int, Statistics]]) -> None:
    """Read the stream as another process would, as often as it goes."""
    connection = sqlite3.connect(path)
    while not over.is_set():
        row = connection.execute("SELECT version, count, mean, m2 FROM stream").fetchone()
        if row is not None:
            seen.add((row[0], Statistics(*row[1:])))
    connection.close()


def torn(
    seen: set[tuple[int, Statistics]], history: dict[int, Statistics]
) -> set[tuple[int, Statistics]]:
    """What was read and never was."""
    return {(version, read) for version, read in seen if history.get(version) != read}


def test_half_of_one_state_and_half_of_the_next_is_told_apart() -> None:
    """The negative control: what a reader between two writes of one request would have seen."""
    history = {0: BEFORE}
    for version in range(1, 20):
        history[version] = merge(history[version - 1], statistics_of([float(version)]))
    halves = {
        (version + 1, Statistics(late.count, early.mean, late.m2))
        for version, (early, late) in enumerate(pairwise(history.values()))
    }

    assert torn(halves, history) == halves
    assert torn(set(history.items()), history) == set()
