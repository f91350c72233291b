"""Texts scored before, over HTTP: they cost no forward, and another key's are never met."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rm_core.engine import EngineOptions, load_engine
from tests.fakes import RememberingScorer
from tests.models import save_checkpoint
from tests.service.sockets import Listening, Reply, listening

ITEMS = [
    {"prompt": "Is 27 prime?", "response": "No: 27 = 3 × 9."},
    {"prompt": "Is 27 prime?", "response": "Yes."},
]
KEYS = ("first-key", "second-key")


@contextlib.asynccontextmanager
async def server(
    directory: Path, scorer: Any = None, **settings: Any
) -> AsyncIterator[tuple[Listening, Any]]:
    scorer = scorer or RememberingScorer()
    async with listening(directory / "state", scorer, **settings) as listener:
        yield listener, scorer


async def test_what_was_scored_early_is_settled_later_without_a_forward(tmp_path: Path) -> None:
    name = str(save_checkpoint(tmp_path / "model"))
    engine = load_engine({"safety": name, "helpfulness": name})
    async with server(tmp_path, engine) as (listener, _):
        early = (await listener.post("/score", {"items": ITEMS})).json()["items"]
        busy = listener.value("rm_tokens_total", kind="real")
        assert busy > 0
        later = (await listener.post("/ppo_reward", {"stream": "s", "items": ITEMS})).json()

        assert listener.value("rm_tokens_total", kind="real") == busy
        assert listener.value("rm_cache_hits_total", cache="rewards") == 2
        assert listener.value("rm_sequences_total", route="/ppo_reward") == 2
        for one, other in zip(early, later["items"], strict=True):
            for model in ("safety", "helpfulness"):
                assert one[model]["reward"] == other[model]["reward"]

        fresh = [{**item, "response": item["response"] + "!"} for item in ITEMS]
        await listener.post("/ppo_reward", {"stream": "s", "items": fresh})
        assert listener.value("rm_tokens_total", kind="real") > busy


async def test_a_prompt_that_returns_is_counted_as_cached_tokens_and_not_as_computed(
    tmp_path: Path,
) -> None:
    name = str(save_checkpoint(tmp_path / "model"))
    engine = load_engine({"safety": name}, EngineOptions(prefix_cache_bytes=2**24))
    prompt = "Which of these numbers is prime, and why are the others not? "
    async with server(tmp_path, engine) as (listener, _):
        for response in ("27 = 3 × 9.", "31."):
            before = listener.value("rm_tokens_total", kind="real")
            reply = await listener.post("/score", {"prompt": prompt, "response": response})
            num_tokens = reply.json()["num_tokens"]

        cached = listener.value("rm_tokens_total", kind="prefix_cached")
        computed = listener.value("rm_tokens_total", kind="real") - before
        assert cached >= len(prompt) - 16
        assert computed + cached == num_tokens
        held = listener.value("rm_cache_bytes", cache="prefixes")
        assert 0 < held <= listener.value("rm_cache_capacity_bytes", cache="prefixes")


async def test_statistics_count_a_known_text_as_a_computed_one(tmp_path: Path) -> None:
    replies = {}
    for way, early in (("computed", ()), ("known", ITEMS)):
        async with server(tmp_path / way) as (listener, scorer):
            if early:
                await listener.post("/score", {"items": early})
            body = {"stream": "s", "whiten": {"mode": "running"}, "items": ITEMS}
            first = await listener.post("/ppo_reward", body, Idempotency_Key='"one"')
            replayed = await listener.post("/ppo_reward", body, Idempotency_Key='"one"')
            assert (first.content, replayed.status) == (replayed.content, 200)
            again = await listener.post("/ppo_reward", body)
            replies[way] = (first.json(), again.json())
            assert len(scorer.forwards) == 1

    assert replies["computed"] == replies["known"]
    assert replies["known"][1]["statistics"]["count"] == 4


def as_key(key: str, how: str) -> dict[str, str]:
    if how == "basic":
        return {"Authorization": "Basic " + base64.b64encode(f"any:{key}".encode()).decode()}
    if how == "bearer":
        return {"Authorization": f"Bearer {key}"}
    return {"X_API_Key": key}


async def ndjson(listener: Listening, items: Any, **headers: str) -> Reply:
    lines = "".join(json.dumps(item) + "\n" for item in items)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    given = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        "POST /score HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/x-ndjson\r\n{given}Content-Length: {len(lines.encode())}\r\n"
    )
    writer.write(f"{head}\r\n{lines}".encode())
    await writer.drain()
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return Reply(int(head.split()[1]), {}, content)


CALLS = {
    "score": lambda listener, headers: listener.post("/score", {"items": ITEMS}, **headers),
    "ppo": lambda listener, headers: listener.post("/ppo_reward", {"items": ITEMS}, **headers),
    "compare": lambda listener, headers: listener.post(
        "/compare",
        {"items": [{"prompt": "Is 27 prime?", "responses": [i["response"] for i in ITEMS]}]},
        **headers,
    ),
    "ndjson": lambda listener, headers: ndjson(listener, ITEMS, **headers),
    "dialect": lambda listener, headers: listener.post(
        "/get_reward", {"query": ["one text", "two"], "prompts": ["one ", ""]}, **headers
    ),
}


@pytest.mark.parametrize(
    ("call", "how"),
    [
        ("score", "bearer"),
        ("ppo", "header"),
        ("compare", "basic"),
        ("ndjson", "bearer"),
        ("dialect", "basic"),
    ],
)
async def test_callers_of_two_keys_never_meet_and_each_meets_itself(
    call: str, how: str, tmp_path: Path
) -> None:
    async with server(tmp_path, api_keys=KEYS) as (listener, scorer):

        async def computed(key: str) -> int:
            before = sum(map(len, scorer.forwards))
            assert (await CALLS[call](listener, as_key(key, how))).status == 200
            return sum(map(len, scorer.forwards)) - before

        assert await computed(KEYS[0]) == 2
        assert await computed(KEYS[1]) == 2
        assert scorer.rewards.stats().hits == 0
        assert [await computed(key) for key in KEYS] == [0, 0]
        assert scorer.rewards.stats().hits == 4


@pytest.mark.parametrize(
    ("settings", "apart"),
    [
        ({"api_keys": KEYS, "cache_per_key": False}, False),
        ({"api_keys": KEYS[:1]}, False),
        ({"api_keys": (KEYS[0], KEYS[0])}, False),
        ({"api_keys": KEYS[:1], "cache_per_key": True}, True),
        ({"api_keys": KEYS}, True),
        ({}, False),
    ],
)
async def test_who_is_kept_apart_is_told(
    settings: dict[str, Any], apart: bool, tmp_path: Path
) -> None:
    async with server(tmp_path, **settings) as (listener, scorer):
        assert listener.state.caches_per_key is apart
        keys = settings.get("api_keys", ("none",))
        for key in (keys[0], keys[-1]):
            reply = await listener.post("/score", {"items": ITEMS}, X_API_Key=key)
            assert reply.status == 200
        met = len(set(keys)) == 1 or not apart
        assert len(scorer.forwards) == (1 if met else 2)
