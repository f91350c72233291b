"""A scorer that reads its rewards from the text, and an app around any scorer without a socket.

"s=1.5 h=-2" gets a safety reward of 1.5 and a helpfulness reward of −2; a text without numbers
gets 0. "h=nan" and "h=inf" are what a broken model would give.
"""

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
from fastapi import FastAPI

from rm_core.errors import EmptyText
from rm_core.types import (
    Baseline,
    Encoded,
    EncodedItem,
    EngineCacheStats,
    ItemRewards,
    ModelName,
    ModelProfile,
    RewardInput,
    Scorer,
    Truncation,
)
from service.app import create_app
from service.settings import Settings
from tests.fakes import as_dialogue

_REWARD = re.compile(r"\b([sh])=([-+]?(?:nan|inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?))")


@dataclass
class ScriptedScorer:
    """See the module; `asked` are the inputs, with their truncation; `num_scored` were scored."""

    model_names: tuple[ModelName, ...] = ("safety", "helpfulness")
    baselines: Mapping[ModelName, Baseline] = field(default_factory=dict)
    temperature: float = 1.0
    asked: list[tuple[RewardInput, Truncation]] = field(default_factory=list)
    num_scored: int = 0

    shares_prefixes: ClassVar[bool] = False

    @property
    def profiles(self) -> Mapping[ModelName, ModelProfile]:
        return {
            name: ModelProfile(
                role=name,
                name=f"scripted-{name}",
                digest=hashlib.sha256(name.encode()).hexdigest(),
                template_hash=None,
                max_length=100_000,
                baseline=self.baselines.get(name),
                temperature=self.temperature,
            )
            for name in self.model_names
        }

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> EncodedItem:
        self.asked.append((dialogue, truncate))
        dialogue = as_dialogue(dialogue)
        if not dialogue.allow_empty and not dialogue.response.strip():
            raise EmptyText("the response is empty", field="response")
        ids = tuple((dialogue.response or " ").encode("utf-8", "replace"))
        return EncodedItem({name: Encoded(ids, len(ids) - 1) for name in self.model_names})

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        self.num_scored += len(items)
        return [self._rewards(item) for item in items]

    def plan_ahead(self, items: Sequence[EncodedItem]) -> None:
        pass

    def cached_tokens(self, item: EncodedItem) -> int:
        return 0

    def cached_rewards(self, item: EncodedItem) -> ItemRewards | None:
        return None

    def cache_stats(self) -> EngineCacheStats:
        return EngineCacheStats()

    def describe(self) -> dict[str, Any]:
        return {"engine": "scripted"}

    def _rewards(self, item: EncodedItem) -> ItemRewards:
        text = bytes(item.by_model[self.model_names[0]].input_ids).decode("utf-8")
        found = {letter: float(number) for letter, number in _REWARD.findall(text)}
        return {name: (found.get(name[0], 0.0),) for name in self.model_names}


@contextlib.asynccontextmanager
async def running(
    state_dir: Path, scorer: Scorer, **settings: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An app that runs in this event loop, and a client of it."""
    app = create_app(Settings(**{"state_dir": state_dir, "max_wait_ms": 0.0, **settings}), scorer)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client,
    ):
        yield app, client


@contextlib.asynccontextmanager
async def serving(
    state_dir: Path, scorer: Scorer | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app, whose rewards stand in the texts unless it has another scorer."""
    async with running(state_dir, scorer or ScriptedScorer(), **settings) as (_, client):
        yield client


def response_item(reward: float | str, **more: Any) -> dict[str, Any]:
    """An item whose helpfulness reward is `reward`, its safety reward far above τ."""
    return {"prompt": "p", "response": f"s=5 h={reward}", **more}
