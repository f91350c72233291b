from prometheus_client import CollectorRegistry, generate_latest

from rm_core.rewards import statistics_of
from service.streams.ledger_table import StoredReply
from service.streams.metrics import MAX_LABELLED_STREAMS, RewardMetrics
from service.streams.stream_table import Stream
from service.streams.transaction import Applied


def exposition(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_every_result_starts_at_zero() -> None:
    registry = CollectorRegistry()
    RewardMetrics(registry)

    text = exposition(registry)
    for result in ("applied", "duplicate", "frozen", "nonfinite", "not_requested"):
        assert f'rm_whiten_updates_total{{result="{result}"}} 0.0' in text
    for result in ("new", "replayed", "joined", "conflict", "evicted"):
        assert f'rm_idempotency_total{{result="{result}"}} 0.0' in text


def test_a_thousand_streams_do_not_make_a_thousand_series() -> None:
    registry = CollectorRegistry()
    metrics = RewardMetrics(registry)

    for number in range(1000):
        metrics.stream(Stream(f"run-{number}"))

    lines = [line for line in exposition(registry).splitlines() if "rm_whiten_count{" in line]
    assert len(lines) == MAX_LABELLED_STREAMS


def test_a_forgotten_streams_place_goes_to_the_next() -> None:
    registry = CollectorRegistry()
    metrics = RewardMetrics(registry)
    for number in range(MAX_LABELLED_STREAMS):
        metrics.stream(Stream(f"run-{number}"))

    metrics.forgotten_stream("run-0")
    metrics.forgotten_stream("never-seen")
    metrics.stream(Stream("new"))

    text = exposition(registry)
    assert 'stream="new"' in text
    assert 'stream="run-0"' not in text


def test_a_commit_shows_the_stream_and_what_was_evicted() -> None:
    registry = CollectorRegistry()
    metrics = RewardMetrics(registry)
    stream = Stream("run", statistics_of([1.0, 3.0]), generation=4, frozen=True)

    metrics.committed(
        Applied(
            StoredReply(200, b""),
            saved=stream,
            committed_at=12.0,
            ids_forgotten=3,
            replies_evicted=2,
            commit_seconds=0.002,
            ledger_entries=9,
        )
    )

    text = exposition(registry)
    for line in (
        'rm_whiten_count{stream="run"} 2.0',
        'rm_whiten_frozen{stream="run"} 1.0',
        'rm_whiten_generation{stream="run"} 4.0',
        "rm_whiten_last_commit_timestamp_seconds 12.0",
        "rm_whiten_item_ids_forgotten_total 3.0",
        'rm_idempotency_total{result="evicted"} 2.0',
        "rm_idempotency_entries 9.0",
        "rm_whiten_commit_seconds_count 1.0",
    ):
        assert line in text
