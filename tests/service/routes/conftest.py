"""A client of an app whose scorer reads the rewards from the text."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.service.scripted import ScriptedScorer, serving


@pytest.fixture
def scorer() -> ScriptedScorer:
    return ScriptedScorer()


@pytest.fixture
async def client(tmp_path: Path, scorer: ScriptedScorer) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path, scorer) as client:
        yield client
