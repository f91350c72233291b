"""Streams and replies as the store keeps them from request to request."""

import threading
from pathlib import Path
from typing import Any

import pytest

from rm_core.errors import ConfigurationError
from rm_core.rewards import Statistics, merge, statistics_of
from service.errors import IdempotencyConflict, StateUnavailable, UnknownStream
from service.streams.ledger_table import StoredReply
from service.streams.store import StateStore
from service.streams.stream_table import Stream
from service.streams.transaction import Transaction
from tests.service.streams.store_calls import FakeClock, adding, key


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


async def test_an_item_id_counts_once_in_its_stream_and_apart_in_another(
    store: StateStore,
) -> None:
    await store.apply(adding(1.0, 2.0, ids=("x", "y")))
    await store.apply(adding(1.0, name="other", ids=("z",)))
    asked: list[set[str]] = []

    def ask(transaction: Transaction) -> StoredReply:
        for name in ("run", "other", "new"):
            stream = transaction.stream(name) or Stream(name)
            asked.append(set(transaction.counted(stream, ["x", "y", "z", "\ud800"])))
        return StoredReply(200, b"")

    await store.apply(ask)
    assert asked == [{"x", "y"}, {"z"}, set()]
    await store.reset("run", Statistics())
    await store.apply(ask)
    assert asked[3:] == [set(), {"z"}, set()]


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


async def test_the_past_decays_with_the_streams_half_life(store: StateStore) -> None:
    await store.put("run", statistics=Statistics(100.0, 5.0, 99.0), half_life=10.0, frozen=False)

    await store.apply(adding(*([0.0] * 10)))

    # the past counts 50 after one half-life: mean (50·5 + 10·0) / 60, `adding` weighs all 1
    assert (await store.get("run")).statistics.mean == pytest.approx(250.0 / 60.0)


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "state.sqlite3")
    with pytest.raises(StateUnavailable):
        await store.get_all()


async def test_a_file_that_is_no_state_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_bytes(b"not a database" * 100)

    with pytest.raises(ConfigurationError, match="move the file away"):
        await StateStore(path).open()


async def test_a_stream_says_when_it_was_made_and_last_changed(
    store: StateStore, clock: FakeClock
) -> None:
    for _ in range(2):
        await store.apply(adding(1.0))
        clock.now += 10.0

    found = await store.get("run")
    assert (found.created, found.updated) == (clock.now - 20.0, clock.now - 10.0)


def test_two_processes_on_one_file_wait_for_each_others_transactions(tmp_path: Path) -> None:
    """Two stores stand for them; one writes while the other is between its read and its write."""
    first, second = (StateStore(tmp_path / "state.sqlite3") for _ in range(2))
    first.open_now()
    second.open_now()
    twin = threading.Thread(target=second.apply_now, args=[adding(3.0)])

    def slow(transaction: Transaction) -> StoredReply:
        transaction.stream("run")
        twin.start()
        twin.join(0.2)
        return adding(1.0)(transaction)

    first.apply_now(slow)
    twin.join()

    assert first.get_now("run").statistics == Statistics(2.0, 2.0, 2.0)
    second.close_now()
    first.close_now()
