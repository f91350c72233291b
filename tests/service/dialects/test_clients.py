"""The trainers' own loops, rewritten from what their sources show, against a moody service.

Each stand-in keeps its project's timeouts, numbers of tries and reading of the reply; sleeps are
noted instead of slept.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.service.scripted import serving


@dataclass
class Moody:
    """A transport that loses connections before it lets requests through to the service.

    `refusals` come instead of the first replies: "lost" (nothing arrives), "late" (the service
    works, its reply is lost) or a status.
    """

    inner: httpx.AsyncBaseTransport
    refusals: list[str | int] = field(default_factory=list)
    seen: list[int | str] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        mood = self.refusals.pop(0) if self.refusals else None
        if mood == "lost":
            self.seen.append("lost")
            raise httpx.ConnectError("gone", request=request)
        if isinstance(mood, int):
            self.seen.append(mood)
            return httpx.Response(mood, request=request)
        reply = await self.inner.handle_async_request(request)
        await reply.aread()
        if mood == "late":
            self.seen.append("late")
            raise httpx.ReadTimeout("late", request=request)
        self.seen.append(reply.status_code)
        return reply


Trouble = Callable[[list[str | int]], Awaitable[tuple[httpx.AsyncClient, Moody]]]


@pytest.fixture
async def trouble(client: httpx.AsyncClient) -> Trouble:
    async def make(refusals: list[str | int]) -> tuple[httpx.AsyncClient, Moody]:
        moody = Moody(client._transport, list(refusals))
        return httpx.AsyncClient(
            transport=httpx.MockTransport(moody), base_url="http://test"
        ), moody

    return make


async def openrlhf_reward(
    client: httpx.AsyncClient, query: list[str], prompts: list[str], urls: int = 1
) -> dict[str, list[float]]:
    """agent.py: splits over the addresses, 5 tries each on any failure, then raises."""
    size = -(-len(query) // urls)
    parts = [slice(i * size, (i + 1) * size) for i in range(urls)]

    async def one(part: slice) -> dict[str, Any]:
        body = {"query": query[part], "prompts": prompts[part], "labels": [None] * len(query[part])}
        for _ in range(5):
            try:
                reply = await client.post("/get_reward", json=body, timeout=180)
                reply.raise_for_status()
                return reply.json()
            except httpx.HTTPError:
                continue
        raise RuntimeError("Request error for 5 times")

    found = [await one(part) for part in parts]
    return {
        "rewards": [value for one in found for value in one["rewards"]],
        "scores": [value for one in found for value in one["scores"]],
        "keys": [sorted(one["extra_logs"]) for one in found if one["rewards"]],
    }


async def verl_reward(client: httpx.AsyncClient, text: str) -> float:
    """reward_loop.py: 16 tries, but a 4xx is final."""
    body = {"model": "m", "input": text, "use_activation": False}
    for _ in range(16):
        try:
            reply = await client.post("/classify", json=body, timeout=None)
            reply.raise_for_status()
            return reply.json()["data"][-1]["probs"][-1]
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code < 500:
                raise
        except httpx.HTTPError:
            continue
    raise RuntimeError("16 tries")


@pytest.mark.parametrize("refusals", [[], ["lost", 503], ["late", "late", 503, "lost"]])
async def test_openrlhf_gets_through(trouble, refusals):
    client, moody = await trouble(refusals)

    found = await openrlhf_reward(client, ["p s=5 h=1"], ["p "])

    assert found["rewards"] == [1.0]
    assert moody.seen == [*refusals, 200]


async def test_openrlhf_may_have_more_addresses_than_samples(client):
    found = await openrlhf_reward(client, ["s=5 h=1"], [""], urls=4)

    assert found["rewards"] == [1.0]


async def test_openrlhfs_replies_merge_whatever_was_wrong_with_a_sample(tmp_path):
    async with serving(tmp_path, dialect_fallback_reward=-5.0) as client:
        texts = ["s=5 h=1", "", "s=-9 h=1", "h=nan"]
        found = await openrlhf_reward(client, texts, [""] * 4, urls=4)

    assert found["rewards"] == [1.0, -5.0, -9.0, -5.0]
    assert len({tuple(keys) for keys in found["keys"]}) == 1


async def test_without_a_fallback_openrlhf_stops_at_a_bad_sample(client):
    with pytest.raises(RuntimeError, match="5 times"):
        await openrlhf_reward(client, [" "], [""])


async def test_verl_gets_a_number_for_a_text_of_any_length(client):
    assert await verl_reward(client, "x " * 50_000 + "s=5 h=1") == 1.0


async def test_a_reply_that_is_lost_on_its_way_is_counted_each_time_it_is_given(trouble, client):
    moody, _ = await trouble(["late"])

    body = {"prompt": "p", "response": "s=5 h=1"}
    for _ in range(2):
        try:
            await moody.post("/rm?reward=whitened&stream=r", json=body)
        except httpx.HTTPError:
            continue

    # It left us, and no key tells the retry from a second sample; docs/guides/dialects.md says so.
    assert (await client.get("/streams/r")).json()["num_samples"] == 2
