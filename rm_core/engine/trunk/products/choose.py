"""The choice of the library that multiplies a trunk's linear layers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rm_core.engine.options import EngineOptions
from rm_core.engine.trunk.products.layers import product_layers
from rm_core.engine.trunk.products.onednn import has_onednn
from rm_core.engine.trunk.products.remembered import choice_key, remember_table, remembered_table
from rm_core.engine.trunk.products.table import ProductTable, table_of
from rm_core.engine.trunk.products.timing import fastest_table
from rm_core.errors import ConfigurationError

SMALL = 2**16
"""Elements of the largest weight below which nothing is timed: there a product takes less time than
the call of it."""


@dataclass(frozen=True, slots=True)
class ProductChoice:
    """What multiplies a trunk's linear layers, and why.

    Attributes:
        table: the libraries by rows; None where torch's own way stays as it is.
        reason: for /v1/info.
    """

    table: ProductTable | None
    reason: str

    def told(self) -> str | None:
        """The libraries in words; None where it is not ours to choose."""
        return None if self.table is None else self.table.told()

    @property
    def onednn(self) -> ProductTable | None:
        """The table where oneDNN multiplies anything, so that something is to be put in place."""
        return self.table if self.table is not None and self.table.has_onednn else None

    def tries(self) -> "list[ProductChoice]":
        """This choice, and behind one with oneDNN's products that without."""
        if self.onednn is None:
            return [self]
        others = "oneDNN's gave other rewards or other bits, or raised"
        return [self, ProductChoice(table_of("mkl"), others)]


TORCHS_OWN = ProductChoice(None, "not chosen here")
"""Nothing replaced."""


def choose_products(
    model: Any, options: EngineOptions, *, chunk_rows: int | None = None
) -> ProductChoice:
    """What multiplies the linear layers of a model's trunk.

    Args:
        model: a transformers model.
        options: `products` forces a library; "auto" takes the fastest.
        chunk_rows: as they suit the cache; None where the trunk is not run in chunks.

    Raises:
        ConfigurationError: oneDNN is asked for, and this torch or this model has none of it.
    """
    obstacle = _obstacle(model, options, chunk_rows)
    if obstacle is not None:
        if options.products == "onednn":
            raise ConfigurationError(
                f"products onednn asked for, but {obstacle}; leave products at auto"
            )
        return ProductChoice(None, obstacle)
    linears = list(product_layers(model.base_model).values())
    if options.products != "auto":
        return ProductChoice(table_of(options.products), "set")
    if not linears or max(linear.weight.numel() for linear in linears) < SMALL:
        return ProductChoice(table_of("mkl"), "too small to choose")
    if not options.deterministic:
        return _fastest(linears, chunk_rows, options.products_file)
    key = choice_key(linears, chunk_rows)
    if key not in _OF_THIS_PROCESS:
        found = _fastest(linears, chunk_rows, options.products_file)
        _OF_THIS_PROCESS[key] = replace(found, table=found.table and found.table.of_one_library())
    return _OF_THIS_PROCESS[key]


_OF_THIS_PROCESS: dict[str, ProductChoice] = {}
"""Choices of deterministic models by their key: weights that are loaded again, or elsewhere in the
process, must not meet another library because the clock says so."""


def _fastest(linears: Sequence[nn.Linear], rows: int | None, file: Path | None) -> ProductChoice:
    key = choice_key(linears, rows)
    known = None if file is None else remembered_table(file, key)
    if known is not None:
        return ProductChoice(known, "fastest when timed at an earlier start")
    try:
        table = fastest_table(linears, rows=rows)
    except RuntimeError:  # a processor for which oneDNN has no such product
        return ProductChoice(table_of("mkl"), "oneDNN has none for this processor")
    if file is not None:
        remember_table(file, key, table)
    return ProductChoice(table, "fastest when timed at this start")


def _obstacle(model: Any, options: EngineOptions, chunk_rows: int | None) -> str | None:
    """Why torch's own products stay; None where others may take their place."""
    if model.device.type != "cpu":
        return f"the model is on {model.device.type}"
    if options.deterministic and chunk_rows is None:
        return "deterministic has products of its own where a trunk is not run in chunks"
    if torch.is_autocast_enabled("cpu"):
        return "torch picks the numbers by itself (autocast)"
    if not has_onednn():
        return "this torch has no oneDNN"
    if any(each.dtype != torch.float32 for each in model.base_model.parameters()):
        return "the trunk is not in float32"
    return None
