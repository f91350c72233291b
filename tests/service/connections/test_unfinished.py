import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from service.connections.unfinished import RATE_GRACE_SECONDS, UnfinishedBodies
from service.problems import Problem


def bodies(**limits: float) -> UnfinishedBodies:
    settings: Any = SimpleNamespace(
        **{
            "max_body_bytes": 1000,
            "max_unfinished_body_bytes": 2000,
            "body_timeout_seconds": 60.0,
            "min_body_bytes_per_second": 0.0,
            **limits,
        }
    )
    return UnfinishedBodies(settings)


async def test_the_oldest_gives_way_and_is_told_while_it_waits():
    together = bodies()
    begun = asyncio.Event()

    async def waiting() -> None:
        async with together.new() as body:
            body.take(b"x" * 900)
            begun.set()
            await asyncio.Event().wait()

    oldest = asyncio.create_task(waiting())
    await begun.wait()
    async with together.new() as second, together.new() as third:
        second.take(b"x" * 900)
        third.take(b"x" * 900)

        with pytest.raises(Problem) as refused:
            await oldest
        assert (refused.value.status, refused.value.code) == (503, "too_many_unfinished_bodies")
        assert together.num_bytes == 1800
        assert bytes(second.content) == bytes(third.content) == b"x" * 900

    assert (together.num_bytes, len(together)) == (0, 0)


async def test_the_oldest_gives_way_to_its_own_next_bytes():
    together = bodies(max_unfinished_body_bytes=1000)

    async def read() -> None:
        async with together.new() as oldest:
            oldest.take(b"x" * 600)
            async with together.new() as other:
                other.take(b"x" * 400)
                oldest.take(b"x")

    with pytest.raises(Problem) as refused:
        await read()
    assert refused.value.status == 503


async def test_what_is_refused_is_counted_no_more():
    together = bodies()

    async def read() -> None:
        async with together.new() as body:
            body.take(b"x" * 600)
            body.take(b"x" * 600)

    with pytest.raises(Problem) as refused:
        await read()
    assert refused.value.status == 413
    assert together.num_bytes == 0


@pytest.mark.parametrize(("rate", "due"), [(0.0, 60.0), (10.0, RATE_GRACE_SECONDS + 10.0)])
async def test_a_body_has_its_time_and_less_if_it_comes_slowly(rate: float, due: float):
    together = bodies(min_body_bytes_per_second=rate)
    began = asyncio.get_running_loop().time()
    async with together.new() as body:
        body.take(b"x" * 100)
        when = body._timeout.when()

    assert when is not None
    assert when - began == pytest.approx(due, abs=1.0)


async def test_a_body_that_is_too_slow_is_a_problem_that_says_so():
    together = bodies(body_timeout_seconds=0.01, min_body_bytes_per_second=5.0)
    with pytest.raises(Problem) as refused:
        async with together.new():
            await asyncio.Event().wait()

    assert refused.value.status == 408
    assert "5 bytes per second" in refused.value.detail
