"""A base and an adapter on it, for the tests to break; a model that is trained and published."""

from pathlib import Path

import pytest

from tests.adapters import save_adapter, save_base
from tests.training.fixtures import start, tiny_base

__all__ = ["start", "tiny_base"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A causal language model."""
    return save_base(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    """A sound adapter on it."""
    return save_adapter(tmp_path / "safety", base, seed=1)
