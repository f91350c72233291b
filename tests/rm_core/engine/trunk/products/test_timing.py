"""The choice by timing, with a clock that says what the test wants."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rm_core.engine.trunk.products import timing
from rm_core.engine.trunk.products.base import Product
from rm_core.engine.trunk.products.table import ROW_CLASSES
from rm_core.engine.trunk.products.timing import CLEARLY, MOST_OPERATIONS, fastest_table

Seconds = Callable[[str, int], float]


class Clock:
    """A timer by rule: seconds of a product by library and rows; runs nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rule: Seconds) -> None:
        self.calls: list[tuple[str, int]] = []
        self._rule = rule
        monkeypatch.setattr(timing, "_call", self._asked)

    def _asked(self, product: Product, rows: torch.Tensor) -> Callable[[], object]:
        library = "onednn" if "Onednn" in type(product).__name__ else "mkl"
        return lambda: (library, len(rows))

    def __call__(self, call: Callable[[], object]) -> float:
        asked: tuple[str, int] = call()  # type: ignore[assignment]
        self.calls.append(asked)
        return self._rule(*asked)


LAYERS = [nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(4, 8)]


def test_each_class_of_rows_takes_what_was_fastest_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(
        monkeypatch, lambda library, rows: 1.0 if (library == "mkl") == (rows < 100) else 2.0
    )

    table = fastest_table(LAYERS, timer=clock)

    assert table.libraries == ("mkl", "mkl", "onednn", "onednn")
    assert table.chunk_rows is None
    # By turns, so that a machine that slows down slows both.
    assert [library for library, _ in clock.calls[:4]] == ["mkl", "onednn"] * 2


def test_a_tie_stays_with_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    nearly = Clock(monkeypatch, lambda library, _: 1.0 if library == "mkl" else 1.01 / CLEARLY)

    assert fastest_table(LAYERS, rows=256, timer=nearly).has_onednn is False


def test_one_slow_call_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(library: str, _rows: int) -> float:
        disturbed = len(clock.calls) % 4 == 0
        return (1.0 if library == "onednn" else 2.0) + (10.0 if disturbed else 0.0)

    clock = Clock(monkeypatch, rule)

    assert fastest_table(LAYERS, timer=clock).libraries == ("onednn",) * len(ROW_CLASSES)


def test_a_chunk_takes_the_fewest_rows_beyond_which_nothing_is_gained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each product costs a fixed 100 beside its rows, up to 512 rows.
    def rule(library: str, rows: int) -> float:
        return 1e9 if library == "mkl" else rows + (100.0 if rows < 512 else 0.0)

    table = fastest_table(LAYERS, rows=128, timer=Clock(monkeypatch, rule))

    assert table.chunk_rows == 512


def test_large_products_are_not_tried_at_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        large = nn.Linear(2**14, 2**14)
    monkeypatch.setattr(timing, "MAKERS", {"mkl": _Named, "onednn": _NamedOnednn})
    clock = Clock(monkeypatch, lambda library, _: 1.0 if library == "onednn" else 2.0)

    table = fastest_table([large], timer=clock)

    tried = {rows for _, rows in clock.calls}
    assert tried == {rows for rows in ROW_CLASSES if 2 * rows * 2**28 <= MOST_OPERATIONS}
    assert table.libraries == ("onednn",) * len(ROW_CLASSES)  # the last that was tried


class _Named:
    def __init__(self, linear: nn.Linear) -> None:
        self.out_features = linear.out_features


class _NamedOnednn(_Named):
    """Known by its name alone."""
