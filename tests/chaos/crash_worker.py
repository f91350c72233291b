"""Kills a process that works on a state file, many times, and reports what the file then holds.

A program of its own, single-threaded, so that it can fork: each life of the child opens the store,
goes on with the first request that was not acknowledged (as a client that retries does), and is
killed by SIGKILL, at a random instant or on its way into a chosen SQL statement. Every third
request has no key, and its retry is known by its body alone.

Usage: python crash_worker.py PATH sound|outside NUM_AT_RANDOM NUM_AT_EACH_POINT SEED
"""

import json
import math
import os
import random
import signal
import sys
import time
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

from rm_core.rewards import statistics_of
from service.streams import ledger_table
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.store import StateStore
from service.streams.stream_table import Stream
from service.streams.transaction import Applied, Transaction
from service.streams.unanswered_table import Unanswered

STREAM = "run"
CRASH_POINTS = (
    "BEGIN IMMEDIATE",
    "INSERT INTO counted_item",
    "UPDATE stream",
    "INSERT INTO ledger",
    "INSERT INTO unanswered",
    "INSERT OR REPLACE INTO identity",
    "COMMIT",
    "reply",  # committed, and nobody has heard of it
    "DELETE FROM unanswered WHERE receipt",  # answered, and that isn't noted yet
)


def request_values(number: int) -> list[tuple[str | None, float]]:
    """The items of request `number`: some carry ids, and every third id was sent before."""
    chance = random.Random(number)
    values = [(None, chance.gauss(0.5, 2.0)) for _ in range(2)]
    fresh = f"item-{number}"
    again = f"item-{chance.randrange(number + 1)}"
    return [*values, (fresh, float(number)), (again, chance.gauss(0.0, 1.0))]


def counted_values(num_requests: int) -> list[float]:
    """What a stream has merged after so many requests, each exactly once."""
    seen: set[str] = set()
    kept = []
    for number in range(num_requests):
        for item, value in request_values(number):
            if item is None or item not in seen:
                kept.append(value)
            if item is not None:
                seen.add(item)
    return kept


def work_of(number: int) -> Any:
    """The transaction of request `number`."""

    def work(transaction: Transaction) -> StoredReply:
        stream = transaction.stream(STREAM) or Stream(STREAM)
        items = request_values(number)
        seen = set(transaction.counted(stream, [item for item, _ in items if item is not None]))
        values, new = [], []
        for item, value in items:
            if item in seen:
                continue
            if item is not None:
                seen.add(item)
                new.append(item)
            values.append(value)
        merged = stream.merged(statistics_of(values), num_samples=len(values), now=transaction.now)
        saved = transaction.save(merged, dict.fromkeys(new))
        return StoredReply(200, json.dumps([number, saved.version, *saved.statistics]).encode())

    return work


class LedgerOutside(StateStore):
    """The negative control: the ledger row follows in a transaction of its own."""

    def apply_now(
        self, work: Any, key: IdempotencyKey | None = None, unanswered: bytes | None = None
    ) -> Applied:
        late: list[Any] = []
        insert = ledger_table.insert
        ledger_table.insert = lambda _, *arguments, **named: late.append((arguments, named))
        try:
            applied = super().apply_now(work, key, unanswered)
        finally:
            ledger_table.insert = insert
        for arguments, named in late:
            with self._file.transaction() as (connection, _):
                insert(connection, *arguments, **named)
        return applied


def live(store: StateStore, first: int, acks: int, crash: str | None, countdown: int) -> None:
    """One life: go on from request `first`, acknowledge each; die on the way into `crash`."""
    store.open_now()

    def watch(statement: str) -> None:
        nonlocal countdown
        if crash is not None and statement.startswith(crash):
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    assert store._file.connection is not None
    store._file.connection.set_trace_callback(watch)
    for number in count(first):
        unanswered = answer(store, number)
        if crash == "reply" and number > first:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(acks, number.to_bytes(4, "big"))
        if unanswered is not None:
            store.settle_now(unanswered, answered=True)


def answer(store: StateStore, number: int) -> Unanswered | None:
    """What the service does for request `number`, up to its reply."""
    digest = number.to_bytes(32, "big")
    if number % 3:
        store.apply_now(work_of(number), IdempotencyKey(f"request-{number}", digest))
        return None
    return store.claim_now(digest) or store.apply_now(work_of(number), None, digest).unanswered


def main(path: Path, kind: str, num_random: int, num_each: int, seed: int) -> dict[str, Any]:
    """Kill and restart; then finish in peace and compare with exact arithmetic."""
    chance = random.Random(seed)
    store_class = StateStore if kind == "sound" else LedgerOutside
    acknowledged, wal_replays = 0, 0
    crashes: list[str | None] = [*[None] * num_random, *CRASH_POINTS * num_each]
    chance.shuffle(crashes)
    for crash in crashes:
        countdown, instant = chance.randrange(1, 6), chance.uniform(0.0, 0.03)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            live(store_class(path), acknowledged, writing, crash, countdown)
        os.close(writing)
        if crash is None:
            time.sleep(instant)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the child ended by itself: {status}"
        with os.fdopen(reading, "rb") as pipe:
            heard = pipe.read()
        acknowledged += len(heard) // 4
        wal = path.with_name(path.name + "-wal")
        wal_replays += wal.exists() and wal.stat().st_size > 0

    store = store_class(path)
    store.open_now()
    for number in range(acknowledged, acknowledged + 3):
        answer(store, number)
    found = store.get_now(STREAM)
    store.close_now()
    return report(found, acknowledged + 3) | {
        "kills": len(crashes),
        "requests": acknowledged + 3,
        "wal_replays": wal_replays,
    }


def report(found: Stream, num_requests: int) -> dict[str, Any]:
    """The checker: count exact, mean and M2 within 1e-12 of exact arithmetic."""
    values = [Fraction(value) for value in counted_values(num_requests)]
    mean = sum(values) / len(values)
    m2 = sum((value - mean) ** 2 for value in values)
    count_is_exact = found.statistics.count == len(values) == found.num_samples
    mean_error = abs(float((Fraction(found.statistics.mean) - mean) / mean))
    m2_error = abs(float((Fraction(found.statistics.m2) - m2) / m2))
    return {
        "green": count_is_exact and max(mean_error, m2_error) <= 1e-12,
        "count": found.statistics.count,
        "expected": len(values),
        "mean_error": mean_error,
        "m2_error": m2_error,
        "finite": math.isfinite(found.statistics.m2),
    }


if __name__ == "__main__":
    path, kind, *numbers = sys.argv[1:]
    num_random, num_each, seed = map(int, numbers)
    sys.stdout.write(json.dumps(main(Path(path), kind, num_random, num_each, seed)))
