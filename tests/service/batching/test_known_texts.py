"""Texts that were scored before are settled by a look-up: at once, and counted like any other."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from rm_core.rewards.rule import ScoredItem
from service.batching.queue import Submission
from service.errors import QueueFull, RequestTooLarge
from service.results import ItemFailure
from tests.fakes import ERROR_MARK, NAN_MARK, FakeScorer, RememberingScorer
from tests.service.rig import Rig


def rewards(outcomes: list[Any]) -> list[dict[str, float]]:
    assert all(isinstance(outcome, ScoredItem) for outcome in outcomes)
    return [dict(outcome.rewards) for outcome in outcomes]


def counted(rig: Rig) -> dict[str, float]:
    return {
        name: rig.value(name, **labels)
        for name, labels in (
            ("rm_sequences_total", {"route": "/score"}),
            ("rm_reward_raw_count", {"model": "safety"}),
        )
    }


@pytest.mark.parametrize("waits", [False, True])
async def test_a_text_scored_before_needs_no_forward_and_has_the_same_bits(waits: bool):
    async with Rig(scorer=RememberingScorer()) as rig:
        first = rewards(await rig.score("a", "b", waits=waits, priority="bulk"))
        again = rewards(await rig.score("b", "c", "a", waits=waits, priority="bulk"))

        assert rig.scorer.forwards == [["a", "b"], ["c"]]
        assert [again[2], again[0]] == first
        assert rig.num_admitted == rig.scheduler._admission.tokens == 0
        assert set(counted(rig).values()) == {5}


async def test_without_a_cache_each_is_computed_anew():
    async with Rig(scorer=FakeScorer()) as rig:
        await rig.score("a")
        await rig.score("a")

        assert rig.scorer.forwards == [["a"], ["a"]]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_known_text_waits_for_no_pack_and_takes_no_room(waits: bool):
    async with Rig(scorer=RememberingScorer(), max_queue_tokens=6, max_request_tokens=6) as rig:
        known = rewards(await rig.score("known"))
        async with rig.holding():
            filling = rig.send("three more words", priority="bulk")
            await rig.until_queued(1)
            with pytest.raises(QueueFull):
                await rig.score("unknown text")

            async with asyncio.timeout(5):
                again = await rig.score("known", waits=waits, priority="bulk")
            assert rewards(again) == known
            assert rig.value("rm_queue_items") == 1
        await filling


async def test_a_request_is_as_large_as_its_texts_whatever_is_known_of_them():
    async with Rig(scorer=RememberingScorer(), max_request_tokens=4) as rig:
        await rig.score("a", "b")
        with pytest.raises(RequestTooLarge):
            await rig.score("a", "b", "a")


async def test_equal_texts_in_flight_are_computed_once_and_a_caller_may_go():
    async with Rig(scorer=RememberingScorer(), max_pack_items=1) as rig:
        async with rig.holding():
            one, gone, other = rig.send("a"), rig.send("a"), rig.send("a")
            await rig.until_queued(3)
            gone.cancel()
        first, second = rewards(await one), rewards(await other)

        assert first == second
        assert rig.scorer.forwards == [["held"], ["a"]]
        assert rig.num_admitted == 0


async def test_a_text_that_gave_no_reward_is_tried_again():
    async with Rig(scorer=RememberingScorer()) as rig:
        for marked in (NAN_MARK, ERROR_MARK):
            for _ in range(2):
                (failure,) = await rig.score(marked)
                assert isinstance(failure, ItemFailure)

        assert rig.scorer.forwards == [[NAN_MARK], [NAN_MARK]]
        assert rig.scorer.failed == [1, 1]


async def test_warnings_of_a_known_text_are_told_again():
    scorer = RememberingScorer()
    scorer.max_length = 2
    async with Rig(scorer=scorer) as rig:
        for _ in range(2):
            (outcome,) = await rig.score("too many words", truncate="prompt")
            assert outcome.warnings == ("truncated",)

        assert rig.value("rm_sequences_truncated_total", side="prompt") == 2
        assert len(rig.scorer.forwards) == 1


async def test_callers_of_different_scopes_never_meet():
    async with Rig(scorer=RememberingScorer()) as rig:
        own = rewards(await rig.score("a", cache_scope=b"one"))
        other = rewards(await rig.score("a", cache_scope=b"two"))
        shared = rewards(await rig.score("a"))

        assert rig.scorer.forwards == [["a"]] * 3
        assert rig.scorer.rewards.stats().hits == 0
        assert own != other != shared
        assert rewards(await rig.score("a", cache_scope=b"one")) == own


class PromptsCached(FakeScorer):
    """Tells where prompts end, as the engine does."""

    def encode(self, *args: Any, **options: Any) -> Any:
        item = super().encode(*args, **options)
        return replace(
            item,
            by_model={
                name: replace(encoded, num_prompt_tokens=encoded.num_tokens - 1)
                for name, encoded in item.by_model.items()
            },
        )


@pytest.mark.parametrize("kept_tokens", [0, 40])
async def test_an_idle_device_waits_for_a_group_only_where_its_prompt_is_not_cached(
    kept_tokens: int,
):
    scorer = PromptsCached()
    scorer.kept_tokens = kept_tokens
    prompt = "word " * 40
    async with Rig(scorer=scorer, shares_prefixes=True, max_wait_seconds=30.0) as rig:
        rig.scheduler._concurrency._peak = 2  # company is expected
        rig.scheduler._concurrency._window_ends = 1e12
        first = rig.send("a", prompt=prompt)
        if kept_tokens:
            async with asyncio.timeout(5):
                await first
        else:
            await rig.until_queued(1)
            await rig.send("b", prompt=prompt)
            await first

        assert [len(pack) for pack in scorer.forwards] == [1 if kept_tokens else 2]


async def test_a_pack_holds_more_of_what_is_cached_and_the_metrics_tell_what_was_computed():
    scorer = FakeScorer()
    scorer.kept_tokens = 80
    async with Rig(scorer=scorer, shares_prefixes=True, max_pack_tokens=30) as rig:
        async with rig.holding(prompt="x"):
            sent = [rig.send(f"r{n}", prompt="word " * 80) for n in range(9)]
            await rig.until_queued(9)
            assert rig.scheduler._admission._estimate._cached[
                Submission("/score").flow
            ] == 9 * 80 + len("px")
        await asyncio.gather(*sent)

        assert [len(pack) for pack in scorer.forwards] == [1, 9]
        assert rig.value("rm_tokens_total", kind="prefix_cached") == 80
        assert rig.value("rm_tokens_total", kind="real") == 2 + 9
        assert rig.scheduler._admission._estimate._cached == {}


async def test_a_pack_that_was_cheap_by_a_cache_now_empty_goes_in_halves():
    scorer = FakeScorer()
    scorer.kept_tokens = 80
    async with Rig(scorer=scorer, shares_prefixes=True, max_pack_tokens=60) as rig:
        async with rig.holding(prompt="x"):
            sent = [rig.send(f"r{n}", prompt=f"{n} " + "word " * 80) for n in range(4)]
            await rig.until_queued(4)
            scorer.kept_tokens = 0
        await asyncio.gather(*sent)

        assert max(len(pack) for pack in scorer.forwards) == 1
