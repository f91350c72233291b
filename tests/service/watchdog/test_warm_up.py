from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from rm_core.types import EncodedItem, ItemRewards
from service.watchdog import warm_up as module
from service.watchdog.engine_watch import EngineWatch
from service.watchdog.warm_up import warm_up
from tests.fakes import FakeScorer


def test_the_limit_of_an_ordinary_pack_is_known_before_the_first_caller_comes() -> None:
    scorer, watch = FakeScorer(), EngineWatch()

    warm_up(scorer, watch)

    assert len(scorer.forwards) == 4
    assert watch.pack_times.limit(500)[0] == "forward"


def test_texts_grow_until_one_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENOUGH_SECONDS", -1.0)
    scorer = FakeScorer()

    warm_up(scorer, EngineWatch())

    assert len(scorer.forwards) == 1


def test_models_of_short_texts_are_given_short_ones() -> None:
    scorer = FakeScorer(max_length=50)

    with capture_logs() as logs:
        warm_up(scorer, EngineWatch())

    assert len(scorer.forwards) == 2
    assert [entry["event"] for entry in logs] == ["warmed_up"] * 2


def test_what_fails_is_left_to_the_first_caller() -> None:
    class Broken(FakeScorer):
        def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
            raise RuntimeError("kernel")

    with capture_logs() as logs:
        warm_up(Broken(), EngineWatch())

    assert [entry["error"] for entry in logs] == ["RuntimeError"]


def test_no_caller_finds_anything_of_it_in_the_caches() -> None:
    scopes = []

    class Scoped(FakeScorer):
        def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
            scopes.extend(item.cache_scope for item in items)
            return super().forward(items)

    warm_up(Scoped(), EngineWatch())

    assert set(scopes) == {b"warm-up"}
