"""A scheduler around the fake scorer, and calls of it to watch."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rm_core.rewards.rule import ScoredItem
from rm_core.types import Dialogue
from service.batching.limits import SchedulerLimits
from service.batching.queue import Submission
from service.batching.scheduler import Scheduler
from service.observability.metrics import Metrics
from tests.fakes import FakeScorer, fake_reward

LIMITS: dict[str, Any] = {
    "max_pack_tokens": 1000,
    "max_pack_items": 100,
    "max_wait_seconds": 0.0,
    "max_queue_items": 1000,
    "max_queue_tokens": 100_000,
    "max_request_tokens": 50_000,
    "max_reply_rewards": 1000,
    "max_waiting_bytes": 10_000_000,
    "bulk_every_packs": 4,
    "tokenizer_threads": 2,
}


class Rig:
    def __init__(self, *, scorer: Any = None, shares_prefixes: bool = False, **limits: Any) -> None:
        self.scorer = scorer or FakeScorer()
        self.scorer.shares_prefixes = shares_prefixes
        self.metrics = Metrics()
        merged = SchedulerLimits(**{**LIMITS, **limits})
        self.scheduler = Scheduler(self.scorer, merged, self.metrics, time.monotonic)

    async def __aenter__(self) -> "Rig":
        self.scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.scorer.gate.set()
        await self.scheduler.close()

    @property
    def num_admitted(self) -> int:
        return self.scheduler._admission.items

    async def score(self, *responses: str, prompt: str = "p", **options: Any) -> list[Any]:
        patience = options.pop("patience_seconds", 60.0)
        submission = Submission("/score", **options)
        dialogues = [Dialogue(prompt, response) for response in responses]
        return await self.scheduler.score(dialogues, submission, patience_seconds=patience)

    def send(self, *responses: str, **options: Any) -> "asyncio.Task[list[Any]]":
        return asyncio.create_task(self.score(*responses, **options))

    @asynccontextmanager
    async def holding(
        self, response: str = "held", prompt: str = "p"
    ) -> AsyncIterator["asyncio.Task[list[Any]]"]:
        """While the device works on a first request, which is answered in the end."""
        self.scorer.gate.clear()
        self.scorer.begun.clear()
        held = self.send(response, prompt=prompt)
        await asyncio.to_thread(self.scorer.begun.wait, 10)
        yield held
        self.scorer.gate.set()
        right(await held, response, prompt=prompt)

    async def until_queued(self, count: int) -> None:
        await until(lambda: self.value("rm_queue_items") == count)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (conditions of several kinds, no event each)
            await asyncio.sleep(0.001)


def right(outcomes: list[Any], *responses: str, prompt: str = "p") -> None:
    for outcome, response in zip(outcomes, responses, strict=True):
        assert isinstance(outcome, ScoredItem)
        dialogue = Dialogue(prompt, response)
        assert outcome.rewards == {
            role: fake_reward(role, dialogue) for role in ("safety", "helpfulness")
        }
