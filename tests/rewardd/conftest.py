"""Files of rows, and tiny models to score them by."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.models import make_tokenizer, save_checkpoint

WriteLines = Callable[..., Path]


@pytest.fixture
def write_lines(tmp_path: Path) -> WriteLines:
    """Write values (as JSON) and raw lines (bytes) to a file."""

    def write(lines: Sequence[Mapping[str, Any] | bytes], name: str = "in.jsonl") -> Path:
        path = tmp_path / name
        raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
        path.write_bytes(b"".join(line + b"\n" for line in raw))
        return path

    return write


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of two tiny models by role."""
    root = tmp_path_factory.mktemp("batch-models")
    return {
        role: save_checkpoint(root / role, seed=seed, tokenizer=make_tokenizer(chat=True))
        for seed, role in enumerate(("safety", "helpfulness"))
    }
