"""Loaders of scorers without models: each checkpoint is a directory with a number in it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rm_core.checkpoint.source import ModelSource
from rm_core.errors import CheckpointNotFound
from rm_core.types import EncodedItem, ItemRewards, ModelName, ModelProfile, Scorer
from tests.fakes import FakeScorer


class NumberScorer(FakeScorer):
    """Every model gives its checkpoint's number, and has it in its digest and its bias."""

    def __init__(self, numbers: Mapping[ModelName, float]) -> None:
        super().__init__(tuple(numbers))
        self.numbers = dict(numbers)

    @property
    def profiles(self) -> dict[ModelName, ModelProfile]:
        return {
            name: replace(profile, digest=digest_of(self.numbers[name]))
            for name, profile in super().profiles.items()
        }

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        found = super().forward(items)
        return [{name: (self.numbers[name],) for name in own} for own in found]


def digest_of(number: float) -> str:
    return f"{round(number):016x}" * 4


def checkpoint(root: Path, name: str, number: float) -> Path:
    directory = root / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "number").write_text(str(number))
    return directory


class NumberLoader:
    """Loads `NumberScorer`s, when its gate is open; `released` are those that were given back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.released: list[Scorer] = []
        self.error: Exception | None = None

    def load(self, sources: Mapping[ModelName, ModelSource]) -> NumberScorer:
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return NumberScorer({name: self._number(source) for name, source in sources.items()})

    def release(self, scorer: Scorer) -> None:
        self.released.append(scorer)

    def fingerprint(self, sources: Mapping[ModelName, ModelSource]) -> object:
        return [
            Path(source.name, "number").read_text() if Path(source.name).is_dir() else None
            for source in sources.values()
        ]

    def _number(self, source: ModelSource) -> float:
        try:
            return float(Path(source.name, "number").read_text())
        except OSError as exc:
            raise CheckpointNotFound(f"there is no directory {source.name}") from exc
