"""What the dialects share: overload as clients bear it, options of the address, batching."""

import asyncio

import pytest

from tests.fakes import FakeScorer
from tests.service.dialects.bodies import TONGUES


async def test_a_caller_that_leaves_takes_its_texts_along(start):
    async with start(max_items=4, max_queue_items=4) as service, service.holding():
        reply = await service.client.post(
            "/get_reward",
            json={"query": ["a", "b", "c"]},
            headers={"X-Request-Timeout-Ms": "1"},
        )
        left = service.state.scheduler._admission.items

    assert reply.status_code == 504
    assert left == 1


@pytest.mark.parametrize(
    "query", ["reward=best", "reward=", "stream=a%2Fb", "detail=maybe", "rendered=2"]
)
async def test_a_wrong_option_in_the_address_is_told(client, query):
    reply = await client.post(f"/rm?{query}", json={"prompt": "p", "response": "r"})

    assert reply.status_code == 422
    assert query.partition("=")[0] in reply.json()["detail"]


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_none_is_told_of_where_nothing_is_counted_too(client, key):
    sample = {"prompt": "p", "response": "r"}
    reply = await client.post("/rm", json=sample, headers={"Idempotency-Key": key})

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'"x"', b"[" * 100_000, b"\xff"])
async def test_a_body_that_is_no_object_is_refused(client, content):
    for tongue in TONGUES:
        reply = await client.post(
            tongue.path, content=content, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code in (400, 422), tongue.name


async def test_a_thousand_lone_samples_from_64_connections_share_their_packs(start):
    scorer = FakeScorer()
    async with start(scorer, max_wait_ms=2.0) as service:
        samples = iter(range(1000))

        async def connection() -> int:
            failed = 0
            for number in samples:
                reply = await service.client.post("/get_reward", json={"query": [f"text {number}"]})
                failed += reply.status_code != 200
            return failed

        failures = await asyncio.gather(*(connection() for _ in range(64)))

    sizes = [len(pack) for pack in scorer.forwards]
    mean = sum(sizes) / len(sizes)
    assert sum(failures) == 0
    assert sum(sizes) == 1000
    # 64 connections with one sample each: what arrives while a pack runs makes the next one.
    assert mean >= 8.0, f"mean pack size {mean:.1f} over {len(sizes)} packs"
