"""Requests that wait for room: in order, in parts, bounded, and not at the others' cost."""

import asyncio
import threading
from typing import Any

import pytest

from rm_core.errors import EngineClosed
from service.errors import DeadlineExceeded, QueueFull, RequestTooLarge
from tests.fakes import ENCODE_ERROR_MARK
from tests.service.rig import Rig, right, until


def waiting(rig: Rig, *responses: str, **options: Any) -> "asyncio.Task[list[Any]]":
    return rig.send(*responses, priority="bulk", waits=True, **options)


async def until_in_line(rig: Rig, count: int) -> None:
    await until(lambda: rig.value("rm_waiting_requests") == count)


async def test_all_are_served_in_order_of_arrival() -> None:
    names = [f"r{number}" for number in range(40)]
    async with Rig(max_queue_items=4, max_pack_items=1) as rig:
        async with rig.holding():
            sent = [waiting(rig, name) for name in names]
            await until_in_line(rig, 37)
            assert rig.num_admitted == 4
        for name, task in zip(names, sent, strict=True):
            right(await task, name)

        assert [only for (only,) in rig.scorer.forwards] == ["held", *names]
        assert rig.num_admitted == 0
        assert rig.value("rm_waiting_bytes") == 0


async def test_a_request_larger_than_the_queue_is_served_in_parts() -> None:
    names = [f"r{number}" for number in range(100)]
    async with Rig(max_queue_items=8, max_queue_tokens=30, max_request_tokens=10) as rig:
        right(await waiting(rig, *names), *names)

        assert rig.num_admitted == 0
        assert rig.scheduler._admission.tokens == 0


async def test_a_small_request_has_its_turn_between_the_parts_of_a_large_one() -> None:
    async with Rig(max_queue_items=4, max_pack_items=1) as rig:
        async with rig.holding():
            large = waiting(rig, *(f"large {number}" for number in range(30)))
            await until_in_line(rig, 1)
            small = waiting(rig, "small")
            await until_in_line(rig, 2)
        right(await small, "small")

        assert not large.done()
        await large


async def test_who_does_not_wait_finds_room_beside_a_line_and_goes_first() -> None:
    async with Rig(max_queue_items=16, max_pack_items=1) as rig:
        async with rig.holding():
            sent = [waiting(rig, f"r{number}") for number in range(50)]
            await until_in_line(rig, 38)
            interactive = rig.send("now")
            await until(lambda: rig.num_admitted == 14)
        right(await interactive, "now")
        await asyncio.gather(*sent)

        order = [only for (only,) in rig.scorer.forwards]
        assert order.index("now") <= 2


async def test_what_is_free_is_kept_for_the_first_in_line_until_it_is_enough() -> None:
    async with Rig(max_queue_items=16, max_pack_items=1) as rig:
        async with rig.holding():
            natives = [rig.send(f"n{number}", priority="bulk") for number in range(14)]
            await until(lambda: rig.num_admitted == 15)
            first = waiting(rig, "a", "b", "c")
            await until_in_line(rig, 1)
            with pytest.raises(QueueFull):
                await rig.score("late", priority="bulk")
        right(await first, "a", "b", "c")
        await asyncio.gather(*natives)
        right(await rig.score("late", priority="bulk"), "late")


async def test_the_wait_is_bounded() -> None:
    async with Rig(max_queue_items=1) as rig, rig.holding():
        in_line = waiting(rig, "a", patience_seconds=0.05)

        with pytest.raises(QueueFull) as given_up:
            await in_line

        assert given_up.value.reason == "queue_wait"
        assert rig.num_admitted == 1
        assert rig.value("rm_waiting_requests") == 0


async def test_a_deadline_ends_the_wait() -> None:
    async with Rig(max_queue_items=1) as rig, rig.holding():
        with pytest.raises(DeadlineExceeded):
            await waiting(rig, "a", deadline=rig.scheduler._clock() + 0.05)


async def test_who_leaves_gives_everything_back_wherever_it_stands() -> None:
    async with Rig(max_queue_items=4) as rig:
        async with rig.holding():
            sent = [waiting(rig, f"a{n}", f"b{n}", f"c{n}") for n in range(3)]
            await until_in_line(rig, 3)
            for task in sent:
                task.cancel()
            await asyncio.gather(*sent, return_exceptions=True)
            assert rig.num_admitted == 1
        assert rig.num_admitted == 0
        assert rig.value("rm_waiting_bytes") == 0


async def test_bodies_that_wait_are_bounded_in_bytes_but_one_is_always_taken() -> None:
    async with Rig(max_queue_items=1, max_waiting_bytes=100_000) as rig:
        async with rig.holding():
            first = waiting(rig, "a", num_bytes=5_000_000)
            await until_in_line(rig, 1)
            with pytest.raises(QueueFull) as refused:
                await waiting(rig, "b", num_bytes=1)
        right(await first, "a")
        right(await waiting(rig, "b", num_bytes=1), "b")

    assert refused.value.reason == "waiting_bytes"


async def test_texts_that_fail_leave_their_neighbours_their_places() -> None:
    async with Rig(max_queue_items=4) as rig:
        names = [f"r{n} {ENCODE_ERROR_MARK if n % 3 == 0 else ''}" for n in range(12)]

        outcomes = await waiting(rig, *names)

        assert [hasattr(one, "code") for one in outcomes] == [n % 3 == 0 for n in range(12)]
        assert rig.num_admitted == 0


async def test_one_text_beyond_the_bound_on_a_requests_tokens_is_refused() -> None:
    async with Rig(max_request_tokens=5) as rig:
        with pytest.raises(RequestTooLarge):
            await waiting(rig, "one two three four five six")
        assert rig.num_admitted == 0


async def test_stopping_answers_the_line_the_queue_and_newcomers_and_lets_the_device_finish() -> (
    None
):
    async with Rig(max_queue_items=4) as rig:
        async with rig.holding():
            queued, native = waiting(rig, "queued"), rig.send("native")
            in_line = [waiting(rig, f"r{n}", f"s{n}") for n in range(5)]
            await until(lambda: rig.num_admitted == 4)
            rig.scheduler.stop_waiting()
            for task in (queued, native, *in_line, rig.send("late"), waiting(rig, "later")):
                with pytest.raises(QueueFull) as told:
                    await task
                assert told.value.reason == "stopping"
        assert rig.num_admitted == 0


async def test_closing_tells_who_waits() -> None:
    async with Rig(max_queue_items=1) as rig:
        rig.scorer.gate.clear()
        held = rig.send("held")
        await asyncio.to_thread(rig.scorer.begun.wait, 10)
        in_line = waiting(rig, "a")
        await until_in_line(rig, 1)
        closing = asyncio.create_task(rig.scheduler.close())
        with pytest.raises(EngineClosed):
            await in_line
        rig.scorer.gate.set()
        await closing
        with pytest.raises(EngineClosed):
            await held


async def test_a_text_of_more_tokens_than_the_lines_share_goes_alone() -> None:
    async with Rig(max_queue_tokens=10, max_request_tokens=10) as rig:
        nine = "one two three four five six seven eight"
        sent = [waiting(rig, nine), waiting(rig, "a"), waiting(rig, nine)]
        for task, text in zip(sent, (nine, "a", nine), strict=True):
            right(await task, text)


async def test_who_is_being_tokenised_when_the_service_stops_is_told_too() -> None:
    async with Rig() as rig:
        encode, entered = rig.scorer.encode, threading.Event()
        go_on = threading.Event()

        def slow(*arguments: Any, **options: Any) -> Any:
            entered.set()
            assert go_on.wait(10)
            return encode(*arguments, **options)

        rig.scorer.encode = slow  # type: ignore[method-assign]
        sent = [rig.send("native"), waiting(rig, "waits")]
        await asyncio.to_thread(entered.wait, 10)
        rig.scheduler.stop_waiting()
        go_on.set()
        for task in sent:
            with pytest.raises(QueueFull):
                await task
        assert rig.num_admitted == 0


async def test_a_line_whose_client_leaves_while_it_is_fed_takes_its_texts_back() -> None:
    async with Rig(max_queue_items=8, max_pack_items=1) as rig:
        async with rig.holding():
            line = waiting(rig, *(f"r{n}" for n in range(20)), ndjson_stream=1)
            await until_in_line(rig, 1)
            assert rig.value("rm_queue_items") > 0
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
            assert rig.value("rm_queue_items") == 0
            assert rig.num_admitted == 1
        assert rig.scorer.forwards == [["held"]]


async def test_a_line_that_waits_is_told_when_the_service_stops() -> None:
    async with Rig(max_queue_items=4) as rig:
        async with rig.holding():
            lines = [waiting(rig, f"r{n}", ndjson_stream=n) for n in range(6)]
            await until_in_line(rig, 3)
            rig.scheduler.stop_waiting()
            for line in lines:
                with pytest.raises(QueueFull) as told:
                    await line
                assert told.value.reason == "stopping"
        assert rig.num_admitted == 0


async def test_the_size_of_a_line_is_bounded_as_a_whole() -> None:
    async with Rig(max_request_tokens=5) as rig:
        with pytest.raises(RequestTooLarge):
            await waiting(rig, "one two", "three four", ndjson_stream=1)
        assert rig.num_admitted == 0
