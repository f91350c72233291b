"""The stream against a model of it that remembers every value, by random sequences of requests."""

import math
import sqlite3
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rm_core.rewards import Statistics, statistics_of
from service.errors import IdempotencyConflict
from service.streams import stream_table as streams
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.store import StateStore
from service.streams.stream_table import Stream, is_name
from service.streams.transaction import Transaction

VALUES = st.floats(min_value=-100, max_value=100)
ITEMS = st.lists(st.tuples(st.sampled_from(["", *"abcdefgh"]), VALUES), min_size=1, max_size=5)
KEYS = st.sampled_from([None, "k1", "k2", "k3"])


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(streams.SCHEMA)
    yield connection
    connection.close()


class StreamMachine(RuleBasedStateMachine):
    """One stream, one snapshot of it, keyed and unkeyed requests, restarts in between."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.sqlite3"
        self.store = StateStore(self.path)
        self.store.open_now()
        self.values: list[float] = []
        self.ids: set[str] = set()
        self.replies: dict[str, tuple[bytes, bytes]] = {}
        self.frozen = False
        self.generation = 0
        self.created = False
        self.snapshot: tuple[Statistics, list[float]] | None = None

    @rule(items=ITEMS, key=KEYS)
    def request(self, items: list[tuple[str, float]], key: str | None) -> None:
        digest = repr(items).encode()
        named = None if key is None else IdempotencyKey(key, digest)
        if key in self.replies and self.replies[key][0] != digest:
            with pytest.raises(IdempotencyConflict):
                self.store.apply_now(self.work(items), named)
            return
        applied = self.store.apply_now(self.work(items), named)
        if key in self.replies:
            assert applied.replayed
            assert applied.reply.body == self.replies[key][1]
            return
        assert not applied.replayed
        if not self.frozen:
            self.created = True
            for item, value in items:
                if not item or item not in self.ids:
                    self.values.append(value)
                self.ids |= {item} - {""}
        if key is not None:
            self.replies[key] = (digest, applied.reply.body)

    @rule()
    def restart(self) -> None:
        self.store.close_now()
        self.store = StateStore(self.path)
        self.store.open_now()

    @rule(frozen=st.booleans())
    def configure(self, frozen: bool) -> None:
        self.store.put_now("run", None, None, frozen)
        self.frozen, self.created = frozen, True

    @rule()
    def take_snapshot(self) -> None:
        if self.created:
            self.snapshot = (self.store.get_now("run").statistics, list(self.values))

    @rule()
    def restore(self) -> None:
        if self.snapshot is None:
            return
        statistics, values = self.snapshot
        before = self.store.get_now("run")
        after = self.store.put_now("run", statistics, None, self.frozen)
        if before.statistics != statistics:
            self.forget(values)
        assert after.generation == self.generation

    @rule()
    def reset(self) -> None:
        if self.created:
            self.store.reset_now("run", Statistics())
            self.forget([])

    def forget(self, values: list[float]) -> None:
        self.values, self.ids = list(values), set()
        self.generation += 1
        self.replies = {}

    def work(self, items: list[tuple[str, float]]):  # type: ignore[no-untyped-def]
        def run(transaction: Transaction) -> StoredReply:
            stream = transaction.stream("run") or Stream("run")
            if stream.frozen:
                return StoredReply(200, b"untouched")
            seen = set(transaction.counted(stream, [item for item, _ in items if item]))
            values, new = [], []
            for item, value in items:
                if item not in seen:
                    values.append(value)
                    if item:
                        seen.add(item)
                        new.append(item)
            merged = stream.merged(
                statistics_of(values), num_samples=len(values), now=transaction.now
            )
            saved = transaction.save(merged, dict.fromkeys(new))
            return StoredReply(200, repr((saved.version, saved.statistics)).encode())

        return run

    @invariant()
    def the_stream_is_its_values(self) -> None:
        if not getattr(self, "created", False):
            return
        found = self.store.get_now("run")
        assert found.statistics.count == len(self.values)
        assert found.generation == self.generation
        if self.values:
            exact = [Fraction(value) for value in self.values]
            mean = sum(exact) / len(exact)
            m2 = sum((value - mean) ** 2 for value in exact)
            assert math.isclose(found.statistics.mean, mean, rel_tol=1e-12, abs_tol=1e-11)
            assert math.isclose(found.statistics.m2, m2, rel_tol=1e-12, abs_tol=1e-20)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close_now()
            self.folder.cleanup()


StreamMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestStreamAgainstItsModel = StreamMachine.TestCase


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 64, ".."])
def test_plain_names_are_taken(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "é", "a\n", "a\x00"])
def test_other_names_are_not(name: str) -> None:
    assert not is_name(name)


def test_a_stream_comes_back_as_it_was_saved(connection: sqlite3.Connection) -> None:
    stream = Stream(
        "run",
        Statistics(3.5, -0.1, 1e-300, 2.25),
        num_samples=4,
        version=7,
        generation=2,
        half_life=100.0,
        frozen=True,
        created=1.5,
        updated=2.5,
    )

    saved = streams.save(connection, stream)

    assert streams.find(connection, "run") == saved
    assert streams.find_all(connection) == [saved]
    assert streams.find(connection, "other") is None


def test_the_past_decays_before_the_new_is_merged() -> None:
    stream = Stream("run", Statistics(8.0, 4.0, 7.0), num_samples=8, half_life=2.0)

    later = stream.merged(statistics_of([0.0, 0.0], half_life=2.0), num_samples=2, now=5.0)

    # one half-life: 8 samples count 4, the older of the new 2^(−1/2); mean 4·4 over the sum
    assert later.statistics.count == pytest.approx(5.0 + 0.5**0.5)
    assert later.statistics.mean == pytest.approx(16.0 / (5.0 + 0.5**0.5))
    assert (later.version, later.num_samples, later.updated) == (1, 10, 5.0)


def test_the_file_holds_no_id_as_it_was_sent(connection: sqlite3.Connection) -> None:
    stream = streams.save(connection, Stream("run"))
    streams.count_items(connection, stream, {"a name of a person": b"text"}, max_ids=10)

    stored = b"".join(row[0] for row in connection.execute("SELECT item FROM counted_item"))
    assert b"person" not in stored
    found = streams.counted(connection, stream, ["a name of a person"])
    assert found == {"a name of a person": b"text"}


def test_no_id_of_thousands_is_taken_for_another(connection: sqlite3.Connection) -> None:
    stream = streams.save(connection, Stream("run"))
    ids = [f"step-1/{number}" for number in range(3000)]
    others = [f"step-2/{number}" for number in range(3000)]

    stream, _ = streams.count_items(connection, stream, dict.fromkeys(ids), max_ids=10_000)

    assert set(streams.counted(connection, stream, [*ids, *others])) == set(ids)
