"""A client of an app whose rewards stand in the texts ("s=5 h=1.5")."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.service.scripted import serving


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path) as running:
        yield running
