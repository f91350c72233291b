"""Offline scoring: what is put in comes back with its outcome, whatever its pack goes through."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import current_thread, main_thread
from typing import Any

import pytest

from rm_core.engine.packing.offline import OfflineOutcome, OfflineScorer, halves
from rm_core.errors import EngineClosed, EngineError, OutOfMemory
from rm_core.types import Dialogue, EncodedItem, ItemRewards
from tests.fakes import ERROR_MARK, DriftingScorer, FakeScorer, RememberingScorer, fake_reward


class FailingScorer(FakeScorer):
    """Fails on a marked text as the engine does."""

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        try:
            return super().forward(items)
        except RuntimeError as error:
            raise EngineError("the forward failed") from error


def offline(scorer: FakeScorer, **options: Any) -> OfflineScorer[str]:
    return OfflineScorer(scorer, **{"max_pack_tokens": 1000, **options})


def put(packs: OfflineScorer[str], scorer: FakeScorer, *responses: str) -> None:
    for response in responses:
        packs.put(response, scorer.encode(Dialogue("p", response)), "p")


def run_all(packs: OfflineScorer[str]) -> Iterator[tuple[str, OfflineOutcome]]:
    while not packs.is_idle:
        yield from packs.run_next()


def reward(name: str, response: str) -> float:
    return fake_reward(name, Dialogue("p", response))


def test_every_item_comes_back_with_every_models_rewards() -> None:
    scorer = FakeScorer(("honesty", "safety", "brevity"))
    packs = offline(scorer, max_pack_items=3)
    responses = [f"answer {n}" for n in range(8)]
    put(packs, scorer, *responses)

    found = dict(run_all(packs))

    assert [len(pack) for pack in scorer.forwards] == [3, 3, 2]
    assert list(found) == responses
    for response, rewards in found.items():
        assert isinstance(rewards, dict)
        assert list(rewards.items()) == [
            (name, (reward(name, response),)) for name in ("honesty", "safety", "brevity")
        ]


def test_a_pack_that_does_not_fit_goes_in_halves_and_the_next_ones_are_smaller() -> None:
    scorer = FakeScorer()
    scorer.max_fitting = 2
    packs = offline(scorer, max_pack_tokens=16)
    responses = [f"answer {n}" for n in range(10)]
    put(packs, scorer, *responses)

    found = dict(run_all(packs))

    assert all(isinstance(outcome, dict) for outcome in found.values())
    assert scorer.failed == [5]
    assert [text for pack in scorer.forwards for text in pack] == responses


def test_what_fails_even_alone_has_the_failure_for_its_outcome_and_costs_nobody_else() -> None:
    scorer = FailingScorer()
    packs = offline(scorer)
    put(packs, scorer, "a", ERROR_MARK, "b")

    found = dict(run_all(packs))

    assert type(found[ERROR_MARK]) is EngineError
    assert [found[text] for text in "ab"] == [
        {name: (reward(name, text),) for name in scorer.model_names} for text in "ab"
    ]
    scorer.max_fitting = 0
    put(packs, scorer, "c")
    assert [type(outcome) for _, outcome in run_all(packs)] == [OutOfMemory]


def test_a_closed_engine_ends_the_run() -> None:
    class Closed(FakeScorer):
        def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
            raise EngineClosed("the engine is closed")

    packs = offline(scorer := Closed())
    put(packs, scorer, "a", "b")

    with pytest.raises(EngineClosed):
        packs.run_next()


def test_equal_items_that_wait_run_once_however_packs_would_part_them() -> None:
    scorer = DriftingScorer()
    packs = offline(scorer, max_pack_items=1)
    put(packs, scorer, "a", "b", "a")

    found = list(run_all(packs))

    assert scorer.forwards == [["a"], ["b"]]
    assert [tag for tag, _ in found] == ["a", "a", "b"]
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("remember", [True, False])
def test_what_has_run_is_remembered_where_that_is_asked_for(remember: bool) -> None:
    scorer = DriftingScorer()
    packs = offline(scorer, remember=remember)
    put(packs, scorer, "a")
    (first,) = run_all(packs)
    put(packs, scorer, "a")

    (again,) = run_all(packs)

    assert packs.is_idle
    assert (first == again) is remember
    assert len(scorer.forwards) == (1 if remember else 2)


def test_what_the_scorer_keeps_is_settled_without_a_pack() -> None:
    scorer = RememberingScorer()
    packs = offline(scorer)
    put(packs, scorer, "a")
    ((_, first),) = run_all(packs)
    packs = offline(scorer)
    put(packs, scorer, "a", "b")

    found = dict(run_all(packs))

    assert found["a"] == first
    assert scorer.forwards == [["a"], ["b"]]


def test_members_of_a_group_share_a_pack_though_others_came_between() -> None:
    scorer = FakeScorer()
    packs = offline(scorer, max_pack_items=2)
    for response, group in [("a", "p"), ("b", "q"), ("c", "p")]:
        packs.put(response, scorer.encode(Dialogue(group, response)), group)

    list(run_all(packs))

    assert scorer.forwards == [["a", "c"], ["b"]]


def test_there_is_room_until_some_packs_wait() -> None:
    scorer = FakeScorer()
    packs = offline(scorer, max_pack_items=2)
    for count in range(8):
        assert packs.has_room
        put(packs, scorer, f"answer {count}")
    assert not packs.has_room
    packs.run_next()
    assert packs.has_room


def test_more_is_put_in_while_a_device_of_its_own_runs_a_pack() -> None:
    scorer = FakeScorer()
    with ThreadPoolExecutor(1) as device:
        packs = offline(scorer, device=device)
        put(packs, scorer, "a")
        scorer.gate.clear()

        def more() -> None:
            assert current_thread() is main_thread()
            assert scorer.begun.wait(60)
            put(packs, scorer, "b")
            scorer.gate.set()

        first = packs.run_next(meanwhile=more)
        second = packs.run_next()

    assert [tag for tag, _ in first + second] == ["a", "b"]
    assert scorer.forwards == [["a"], ["b"]]


def test_an_empty_queue_is_run_without_a_forward() -> None:
    scorer = FakeScorer()

    assert offline(scorer).run_next() == []
    assert scorer.forwards == []


def test_halves_come_off_a_stack_in_order() -> None:
    parts = halves([1, 2, 3])

    assert [parts.pop(), parts.pop()] == [[1], [2, 3]]
