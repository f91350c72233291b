"""The fastest library for the linear layers at hand, by timing them on this machine.

A few of the trunk's own layers multiply random rows by each library in turn, so that a machine that
slows down meanwhile slows both, and the fastest of each library's calls counts, as other work on
the machine only ever adds to one. torch's own library keeps what it is not clearly slower at.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rm_core.engine.trunk.products.base import Product
from rm_core.engine.trunk.products.table import (
    LIBRARIES,
    MAKERS,
    ROW_CLASSES,
    Library,
    ProductTable,
)

Timer = Callable[[Callable[[], object]], float]
"""Seconds that a call takes."""

ROUNDS = 5
CLEARLY = 1.05
"""How many times faster another library must be, so that noise alone does not choose it."""

MOST_OPERATIONS = 60e9
"""Floating-point operations of one product of every shape beyond which more rows are not tried:
what wins at fewer wins there as well, and a large model would take seconds."""

CHUNK_ROWS = (256, 512, 1024)
"""Rows of a chunk that are tried beyond those that suit the cache."""


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes by the clock."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@torch.inference_mode()
def fastest_table(
    linears: Sequence[nn.Linear], *, rows: int | None = None, timer: Timer = seconds
) -> ProductTable:
    """The library that multiplies fastest, for each class of rows.

    Args:
        linears: of a trunk on the CPU; their weights are laid out for products.
        rows: of a chunk, as they suit the cache; None where the trunk is not run in chunks.
        timer: tells how long a call takes.
    """
    kinds = _by_shape(linears)
    libraries: list[Library] = []
    for count in ROW_CLASSES:
        if libraries and _operations(kinds, count) > MOST_OPERATIONS:
            libraries.append(libraries[-1])
            continue
        took = _times(kinds, count, LIBRARIES, timer)
        libraries.append("onednn" if CLEARLY * took["onednn"] < took["mkl"] else "mkl")
    table = ProductTable(tuple(libraries))
    if rows is None or table.library_of(rows) == "mkl":
        return table  # the rows that suit the cache were found with it
    return ProductTable(table.libraries, _chunk_rows(kinds, rows, timer))


def _chunk_rows(kinds: list[list[nn.Linear]], fewest: int, timer: Timer) -> int:
    """The fewest rows from which on more make oneDNN not clearly faster.

    It rearranges a weight for every product, which more rows pay back.
    """
    tried = [fewest, *(rows for rows in CHUNK_ROWS if rows > fewest)]
    tried = [rows for rows in tried if _operations(kinds, rows) <= MOST_OPERATIONS] or [fewest]
    each = {rows: _times(kinds, rows, ("onednn",), timer)["onednn"] / rows for rows in tried}
    best = min(each.values())
    return next(rows for rows in tried if each[rows] <= CLEARLY * best)


def _by_shape(linears: Sequence[nn.Linear]) -> list[list[nn.Linear]]:
    kinds: dict[Any, list[nn.Linear]] = {}
    for linear in linears:
        kinds.setdefault((linear.weight.shape, linear.bias is None), []).append(linear)
    return list(kinds.values())


def _operations(kinds: list[list[nn.Linear]], rows: int) -> int:
    return sum(2 * rows * kind[0].weight.numel() for kind in kinds)


def _times(
    kinds: list[list[nn.Linear]], rows: int, libraries: Sequence[Library], timer: Timer
) -> dict[Library, float]:
    """Seconds of a product of every layer, by library: the least of each shape times its layers.

    Layers of a shape take turns, so that weights come from memory as in a forward.
    """
    took: dict[Library, float] = dict.fromkeys(libraries, 0.0)
    for kind in kinds:
        own = kind[:ROUNDS]
        x = torch.randn(rows, own[0].in_features).to(own[0].weight.dtype)
        products = {library: [MAKERS[library](linear) for linear in own] for library in libraries}
        found: dict[Library, list[float]] = {library: [] for library in libraries}
        for turn in range(-1, ROUNDS):  # the first prepares
            for library in libraries:
                one = timer(_call(products[library][turn % len(own)], x))
                if turn >= 0:
                    found[library].append(one)
        for library in libraries:
            took[library] += len(kind) * min(found[library])
    return took


def _call(product: Product, rows: Tensor) -> Callable[[], Tensor]:
    return lambda: product(rows)
