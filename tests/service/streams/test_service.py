from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rm_core.errors import ConfigurationError, InputError
from rm_core.rewards import Statistics, from_baseline, merge, statistics_of
from rm_core.types import Baseline
from service.errors import IdempotencyConflict, StateUnavailable, TooManyStreams, UnknownStream
from service.problems import Problem
from service.streams.ledger_table import StoredReply
from service.streams.service import StreamService, baseline_statistics, state_problems
from service.streams.stream_table import Stream
from service.streams.transaction import StoreLimits, Transaction
from tests.service.scripted import ScriptedScorer

SAFETY, HELPFULNESS = Baseline(1.0, 2.0, 50.0), Baseline(-1.0, 1.0, 150.0)


def test_one_models_baseline_is_the_start() -> None:
    scorer = ScriptedScorer(model_names=("helpfulness",), baselines={"helpfulness": HELPFULNESS})

    assert baseline_statistics(scorer.profiles) == from_baseline(-1.0, 1.0, 150.0)


def test_two_baselines_are_mixed_so_that_the_spread_covers_both() -> None:
    scorer = ScriptedScorer(baselines={"safety": SAFETY, "helpfulness": HELPFULNESS})

    start = baseline_statistics(scorer.profiles)

    assert start == merge(from_baseline(1.0, 2.0, 50.0), from_baseline(-1.0, 1.0, 150.0))
    assert (start.count, start.mean) == (200.0, -0.5)
    assert start.std is not None
    assert start.std > 1.0


def test_without_both_baselines_there_is_none() -> None:
    assert baseline_statistics(ScriptedScorer().profiles) == Statistics()
    assert (
        baseline_statistics(ScriptedScorer(baselines={"safety": SAFETY}).profiles) == Statistics()
    )


def test_a_baseline_out_of_range_names_its_checkpoint() -> None:
    scorer = ScriptedScorer(
        model_names=("safety",), baselines={"safety": Baseline(mean=0.0, std=0.0, weight=64.0)}
    )

    with pytest.raises(ConfigurationError, match="safety checkpoint's baseline"):
        baseline_statistics(scorer.profiles)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownStream(), 404, "unknown_stream"),
        (IdempotencyConflict("x"), 422, "idempotency_conflict"),
        (TooManyStreams("x", field="stream"), 422, "too_many_streams"),
        (StateUnavailable("x"), 503, "state_unavailable"),
        (InputError("x", field="tau"), 422, "invalid_item"),
    ],
)
def test_the_states_errors_are_problems(error: Exception, status: int, code: str) -> None:
    with pytest.raises(Problem) as caught, state_problems():
        raise error

    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.headers.get("Retry-After") == ("1" if status == 503 else None)
    pointers = [own.pointer for own in caught.value.errors]
    assert pointers == ([f"/{error.field}"] if isinstance(error, InputError) else [])


async def test_the_limits_hold_for_the_state_that_is_opened(tmp_path: Path) -> None:
    limits = StoreLimits(max_streams=3)
    opened = await StreamService.open(tmp_path, CollectorRegistry(), limits=limits)
    await opened.close()

    assert opened.store.limits == limits


async def test_streams_show_in_the_metrics_from_the_start(tmp_path: Path) -> None:
    def create(transaction: Transaction) -> StoredReply:
        transaction.save(Stream("run", statistics_of([1.0, 3.0]), num_samples=2, version=1))
        return StoredReply(200, b"")

    first = await StreamService.open(tmp_path, CollectorRegistry())
    await first.store.apply(create)
    await first.close()

    registry = CollectorRegistry()
    again = await StreamService.open(tmp_path, registry)
    text = generate_latest(registry).decode()
    await again.close()

    assert 'rm_whiten_mean{stream="run"} 2.0' in text
    assert 'rm_whiten_recoveries_total{result="clean"} 1.0' in text
