"""Which library multiplies how many rows, and the product of a linear layer that follows it."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from torch import Tensor, nn

from rm_core.engine.trunk.products.base import MakeProduct, Product
from rm_core.engine.trunk.products.mm import MmProduct
from rm_core.engine.trunk.products.onednn import OnednnProduct

Library = Literal["mkl", "onednn"]
"""What multiplies: "mkl" stands for torch's own way, which is MKL on x86."""

LIBRARIES: tuple[Library, ...] = ("mkl", "onednn")

MAKERS: dict[Library, MakeProduct] = {"mkl": MmProduct, "onednn": OnednnProduct}
"""What gives a layer's product by each library; both read the weight where it was laid out."""

ROW_CLASSES = (4, 32, 128, 512)
"""Numbers of rows from which on each entry of a table holds; fewer rows than the first are torch's
own, whose overhead is least."""


@dataclass(frozen=True, slots=True)
class ProductTable:
    """The libraries that multiply a trunk's linear layers, by the number of rows.

    Attributes:
        libraries: for each of `ROW_CLASSES`, from so many rows on.
        chunk_rows: of a chunk where the trunk is run in chunks; None for as many as suit the cache.
    """

    libraries: tuple[Library, ...]
    chunk_rows: int | None = None

    @property
    def has_onednn(self) -> bool:
        """Whether any number of rows is oneDNN's."""
        return "onednn" in self.libraries

    def library_of(self, rows: int) -> Library:
        """What multiplies so many rows."""
        found = bisect_right(ROW_CLASSES, rows)
        return self.libraries[found - 1] if found else "mkl"

    def of_one_library(self) -> "ProductTable":
        """The library of many rows for every number of rows: two of them round otherwise."""
        return ProductTable((self.libraries[-1],) * len(self.libraries), self.chunk_rows)

    def product(self, linear: nn.Linear) -> Product:
        """A linear layer's product; see `MakeProduct`."""
        return ProductByRows(linear, self) if self.has_onednn else MmProduct(linear)

    def told(self) -> str:
        """The libraries in words: "onednn", "mkl up to 31 rows, then onednn"."""
        # One row's library apart would be said of every table.
        runs = [(name, len(list(own))) for name, own in groupby(self.libraries)]
        words, at = "", 0
        for name, count in runs:
            words += f" up to {ROW_CLASSES[at] - 1} rows, then {name}" if words else name
            at += count
        return words


def table_of(library: Library) -> ProductTable:
    """One library for every number of rows that it may have."""
    return ProductTable((library,) * len(ROW_CLASSES))


class ProductByRows:
    """A linear layer's product by the library that the number of rows asks for.

    Args:
        linear: its weight is laid out once, and both libraries read it there.
        table: tells the library.
    """

    def __init__(self, linear: nn.Linear, table: ProductTable) -> None:
        self._table = table
        self._by_library = {library: make(linear) for library, make in MAKERS.items()}
        self.out_features = linear.out_features

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Product`."""
        return self._of(rows)(rows)

    def into(self, rows: Tensor, out: Tensor) -> None:
        """See `Product`."""
        self._of(rows).into(rows, out)

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        """See `Product`."""
        self._of(rows).add_to(hidden, rows)

    def _of(self, rows: Tensor) -> Product:
        return self._by_library[self._table.library_of(len(rows))]


def libraries_of(names: Sequence[object]) -> tuple[Library, ...] | None:
    """The libraries of a table by their names; None where they are no table's."""
    known = {name: name for name in LIBRARIES}
    found = tuple(known[name] for name in names if isinstance(name, str) and name in known)
    return found if len(found) == len(names) == len(ROW_CLASSES) else None
