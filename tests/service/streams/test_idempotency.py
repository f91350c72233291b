import asyncio

import pytest
from fastapi import Request

from service.errors import IdempotencyConflict
from service.problems import Problem
from service.streams.idempotency import Answer, InFlight, idempotency_key
from service.streams.ledger_table import IdempotencyKey, StoredReply


def request(*keys: bytes) -> Request:
    headers = [(b"idempotency-key", key) for key in keys]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers})


def key(name: str = "a", body: bytes = b"1") -> IdempotencyKey:
    return IdempotencyKey(name, body)


class Work:
    """Work that says when it has begun and ends when it is told to."""

    def __init__(self, body: bytes = b"reply", error: Exception | None = None) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.body, self.error, self.times = body, error, 0

    async def __call__(self) -> Answer:
        self.times += 1
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Answer(StoredReply(200, self.body))


def test_a_request_without_the_header_has_no_key() -> None:
    assert idempotency_key(request(), "/ppo_reward", b"{}") is None


def test_the_digest_is_of_route_and_body() -> None:
    first = idempotency_key(request(b"k"), "/ppo_reward", b"{}")
    same = idempotency_key(request(b"k"), "/ppo_reward", b"{}")
    other_body = idempotency_key(request(b"k"), "/ppo_reward", b"{ }")
    other_route = idempotency_key(request(b"k"), "/other", b"{}")

    assert first is not None
    assert other_body is not None
    assert other_route is not None
    assert first == same
    assert len({first.digest, other_body.digest, other_route.digest}) == 3


def test_no_body_of_thousands_is_taken_for_another() -> None:
    keys = [idempotency_key(request(b"k"), "/ppo_reward", b"%d" % n) for n in range(3000)]

    assert len({key.digest for key in keys if key is not None}) == 3000


@pytest.mark.parametrize(
    "keys", [(b"",), (b"x" * 256,), ("é".encode("latin-1"),), (b"a\x01",), (b"a", b"b")]
)
def test_a_key_that_is_none_is_refused(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(Problem) as caught:
        idempotency_key(request(*keys), "/ppo_reward", b"{}")

    assert (caught.value.status, caught.value.code) == (400, "invalid_idempotency_key")


def test_the_longest_key_is_taken() -> None:
    found = idempotency_key(request(b"x" * 255), "/ppo_reward", b"{}")

    assert found is not None
    assert found.key == "x" * 255


async def test_twins_that_meet_are_worked_on_once() -> None:
    in_flight, work = InFlight(), Work()

    first = asyncio.create_task(in_flight.once(key(), work))
    await work.begun.wait()
    twins = [asyncio.create_task(in_flight.once(key(), work)) for _ in range(4)]
    await asyncio.sleep(0)
    work.go.set()

    assert (await first).outcome == "new"
    assert [(await twin).outcome for twin in twins] == ["joined"] * 4
    assert {(await twin).reply.body for twin in twins} == {b"reply"}
    assert work.times == 1


async def test_a_twin_takes_over_from_one_that_fails_or_leaves() -> None:
    for leave in ("fails", "is cancelled"):
        in_flight = InFlight()
        failing, second = Work(error=RuntimeError("no")), Work(b"second")
        first = asyncio.create_task(in_flight.once(key(), failing))
        await failing.begun.wait()
        twins = [asyncio.create_task(in_flight.once(key(), second)) for _ in range(2)]
        await asyncio.sleep(0)

        if leave == "fails":
            failing.go.set()
        else:
            first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second.go.set()

        assert sorted([(await twin).outcome for twin in twins]) == ["joined", "new"]
        assert second.times == 1


async def test_a_key_at_work_refuses_another_body() -> None:
    in_flight, work = InFlight(), Work()
    first = asyncio.create_task(in_flight.once(key(), work))
    await work.begun.wait()

    with pytest.raises(IdempotencyConflict):
        await in_flight.once(key(body=b"2"), work)

    work.go.set()
    await first


async def test_requests_without_a_key_never_wait_for_each_other() -> None:
    in_flight, first, second = InFlight(), Work(), Work()
    tasks = [asyncio.create_task(in_flight.once(None, work)) for work in (first, second)]

    await first.begun.wait()
    await second.begun.wait()
    first.go.set()
    second.go.set()

    assert [answer.outcome for answer in await asyncio.gather(*tasks)] == ["new", "new"]


async def test_a_key_is_free_again_when_its_request_is_answered() -> None:
    in_flight, work = InFlight(), Work()
    work.go.set()

    await in_flight.once(key(), work)
    await in_flight.once(key(body=b"2"), work)

    assert work.times == 2
