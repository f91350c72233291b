"""The timer of C, replaced: the tests' own process is not to end."""

import faulthandler
from typing import Any

import pytest

from service.watchdog.last_resort import stderr_descriptor


class Timer:
    """faulthandler's, of which only what it is told is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set: list[float] = []
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self._later)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", self._cancel)

    def _later(self, seconds: float, **options: Any) -> None:
        assert options == {"exit": True, "file": stderr_descriptor()}
        self.set.append(seconds)

    def _cancel(self) -> None:
        self.set.append(float("inf"))
