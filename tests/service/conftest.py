"""Apps in this process around a fake or a scripted scorer, and their clients; a store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.state import AppState
from service.streams.store import StateStore
from tests.fakes import FakeScorer
from tests.service.scripted import ScriptedScorer, running, serving
from tests.service.streams.store_calls import FakeClock


class Service:
    """A running app."""

    def __init__(self, app: Any, scorer: FakeScorer, client: httpx.AsyncClient) -> None:
        self.app = app
        self.scorer = scorer
        self.client = client

    @property
    def state(self) -> AppState:
        return self.app.state.rewardd

    async def metric(self, name: str, **labels: str) -> float:
        value = self.state.metrics.registry.get_sample_value(name, labels)
        assert value is not None, f"no series {name} {labels}"
        return value

    @asynccontextmanager
    async def holding(
        self, path: str = "/score", body: Any = None
    ) -> AsyncIterator["asyncio.Task[httpx.Response]"]:
        """While the device works on a first request, which is answered in the end."""
        self.scorer.gate.clear()
        body = {"prompt": "p", "response": "held"} if body is None else body
        held = asyncio.create_task(self.client.post(path, json=body))
        await asyncio.to_thread(self.scorer.begun.wait, 10)
        yield held
        self.scorer.gate.set()
        assert (await held).status_code == 200


Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start an app around a fake scorer: `async with start(max_items=3) as service`."""

    @asynccontextmanager
    async def started(scorer: FakeScorer | None = None, **values: Any) -> AsyncIterator[Service]:
        fake = scorer or FakeScorer()
        async with running(tmp_path / "state", fake, **values) as (app, client):
            try:
                yield Service(app, fake, client)
            finally:
                fake.gate.set()

    return started


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Service]:
    """An app with the default settings."""
    async with start() as started:
        yield started


@pytest.fixture
def scorer() -> ScriptedScorer:
    """The scorer of `client`."""
    return ScriptedScorer()


@pytest.fixture
async def client(tmp_path: Path, scorer: ScriptedScorer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app whose rewards stand in the texts ("s=5 h=1.5")."""
    async with serving(tmp_path, scorer) as client:
        yield client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[StateStore]:
    store = StateStore(tmp_path / "state.sqlite3", clock=clock, monotonic=clock)
    await store.open()
    yield store
    await store.close()
