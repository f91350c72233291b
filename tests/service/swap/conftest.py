"""A service whose models are numbers, in a directory of checkpoints."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from service.state import AppState
from tests.service.swap.loaders import NumberLoader, NumberScorer, checkpoint


class Swapped:
    """A running service, its loader, its client and its checkpoints `one`, `two` and `three`."""

    def __init__(self, root: Path, state: AppState, loader: NumberLoader, client: Any) -> None:
        self.root = root
        self.state = state
        self.loader = loader
        self.client: httpx.AsyncClient = client

    async def put(self, model: str | None = None, role: str = "safety", **options: Any) -> Any:
        body = {"shadow_items": 0, **({} if model is None else {"model": model}), **options}
        return await self.client.put(f"/admin/models/{role}", json=body)

    async def status(self) -> Any:
        return (await self.client.get("/admin/models")).json()

    async def reward(self, text: str = "t") -> tuple[float, str]:
        reply = await self.client.post("/score", json={"prompt": "p", "response": text})
        assert reply.status_code == 200, reply.text
        return reply.json()["safety"]["reward"], reply.headers["X-Rewardd-Provenance"]


@pytest.fixture
async def swapped(tmp_path: Path) -> AsyncIterator[Swapped]:
    async with serving_numbers(tmp_path) as service:
        yield service


@contextlib.asynccontextmanager
async def serving_numbers(directory: Path, **values: Any) -> AsyncIterator[Swapped]:
    root, loader = directory / "models", NumberLoader()
    for number, name in enumerate(("one", "two", "three"), 1):
        checkpoint(root, name, number)
    settings = Settings(
        **{
            "state_dir": directory / "state",
            "max_wait_ms": 0.0,
            "model_root": root,
            "safety_model": str(root / "one"),
            "helpfulness_model": str(root / "three"),
            **values,
        }
    )
    scorer = NumberScorer({"safety": 1.0, "helpfulness": 3.0})
    app = create_app(settings, scorer, loader=loader)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client,
    ):
        try:
            yield Swapped(root, app.state.rewardd, loader, client)
        finally:
            loader.gate.set()
            scorer.gate.set()
