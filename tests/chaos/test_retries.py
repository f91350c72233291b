"""Trainers' own clients, which send no key, behind a proxy that loses answers: each sample counts.

Once, that is, however often its answer is lost; and as often as it is sent where policies write the
same twice.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.chaos.dropping_proxy import DroppingProxy
from tests.chaos.state_server import MODULE

_PAUSE_SECONDS = 0.02  # theirs are a second and more


@dataclass(frozen=True)
class Personality:
    """How a trainer asks.

    Attributes:
        name: of the trainer.
        path: that it asks.
        body: of one text.
        max_tries: before it gives up.
        keeps_connections: whether the next request takes the same connection.
    """

    name: str
    path: str
    body: Callable[[str], Any]
    max_tries: int
    keeps_connections: bool


PERSONALITIES = [
    Personality(
        "OpenRLHF",
        "/get_reward?reward=whitened&stream=run",
        lambda text: {"query": [text], "prompts": ["p"], "labels": [None]},
        5,
        keeps_connections=False,
    ),
    Personality(
        "slime",
        "/rm?reward=whitened&stream=run",
        lambda text: {"prompt": "p", "response": text, "label": None},
        10,
        keeps_connections=True,
    ),
    Personality(
        "veRL",
        "/classify?reward=whitened&stream=run",
        lambda text: {"model": "m", "input": text, "use_activation": False},
        16,
        keeps_connections=False,
    ),
    Personality(
        "a PPO loop",
        "/ppo_reward",
        lambda text: {"stream": "run", "items": [{"prompt": "p", "response": text}]},
        16,
        keeps_connections=True,
    ),
]


async def train(
    personality: Personality, url: str, texts: list[str], counted: asyncio.Queue[str]
) -> None:
    """Ask for each text's reward, again and again until it is there."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as kept:
        for text in texts:
            for attempt in range(personality.max_tries):
                try:
                    if personality.keeps_connections:
                        reply = await kept.post(personality.path, json=personality.body(text))
                    else:
                        async with httpx.AsyncClient(base_url=url, timeout=60) as once:
                            reply = await once.post(personality.path, json=personality.body(text))
                    assert reply.status_code == 200, reply.text
                    counted.put_nowait(text)
                    break
                except httpx.HTTPError:
                    assert attempt + 1 < personality.max_tries, "the trainer has given up"
                    await asyncio.sleep(_PAUSE_SECONDS)


def texts_of(chance: random.Random, count: int) -> list[str]:
    """A policy's texts; every other one it has written before."""
    texts = [f"text {number}" for number in range(count // 2)]
    return chance.sample(texts * 2, 2 * len(texts))


async def trained(
    server: AttackedServer, personality: Personality, count: int, chaos: Chaos
) -> tuple[int, int, int]:
    """Samples that the stream counted, that were answered, and answers that were lost."""
    proxy = DroppingProxy(server.port, 0.1, chaos.random("drops", personality.name))
    answered: asyncio.Queue[str] = asyncio.Queue()
    with proxy.serving():
        workers = [
            train(personality, proxy.url, texts_of(chaos.random(worker), count), answered)
            for worker in range(4)
        ]
        await asyncio.gather(*workers)
    async with httpx.AsyncClient(base_url=server.url) as client:
        found = (await client.get("/streams/run")).json()["num_samples"]
        await client.delete("/streams/run?forget=true")
    return found, answered.qsize(), proxy.num_dropped


async def test_a_lost_answer_counts_once_and_equal_samples_count_each(
    launch: Launch, chaos: Chaos
) -> None:
    server = launch(MODULE)
    for personality in PERSONALITIES:
        counted, answered, dropped = await trained(server, personality, chaos.times(16, 500), chaos)

        assert dropped > 0
        assert counted == answered, personality.name


async def test_without_memory_of_lost_answers_samples_count_twice(
    launch: Launch, chaos: Chaos
) -> None:
    """The negative control."""
    server = launch(MODULE, PROTECTION="off")

    counted, answered, dropped = await trained(server, PERSONALITIES[1], 40, chaos)

    assert dropped > 0
    assert counted > answered
