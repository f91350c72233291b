"""An app in this process, its fake scorer, and a client; a store of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.state import AppState
from service.streams.store import StateStore
from tests.fakes import FakeScorer
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


Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start an app: `async with start(max_items=3) as service`."""

    @asynccontextmanager
    async def running(scorer: FakeScorer | None = None, **values: Any) -> AsyncIterator[Service]:
        fake = scorer or FakeScorer()
        settings = Settings(**{"state_dir": tmp_path / "state", "max_wait_ms": 0.0, **values})
        app = create_app(settings, fake)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client,
        ):
            try:
                yield Service(app, fake, client)
            finally:
                fake.gate.set()

    return running


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Service]:
    """An app with the default settings."""
    async with start() as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[StateStore]:
    store = StateStore(tmp_path / "state.sqlite3", clock=clock)
    await store.open()
    yield store
    await store.close()
