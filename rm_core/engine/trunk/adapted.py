"""A trunk with many LoRA adapters on it: each row of a product gets its own adapter's part.

The product of the base is computed for all rows at once, whosever they are. As the rows of one
adapter lie together, each adapter's low-rank part is two small products over a run of rows, added
to the base's in place: a segmented product, as Punica and S-LoRA serve adapters (Chen et al. 2023,
arXiv:2310.18547; Sheng et al. 2023, arXiv:2311.03285).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rm_core.checkpoint.low_rank import LowRankPart
from rm_core.engine.trunk.products.base import MakeProduct, Product


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of one adapter that lie together, [begin, end) of those that a product is given."""

    adapter: int
    begin: int
    end: int


class AdapterRows:
    """Whose rows the products work on: told of each pack, and by the trunk of each chunk of it."""

    def __init__(self) -> None:
        self._adapters: tuple[int, ...] = ()
        self._borders = np.zeros(1, dtype=np.int64)
        self.of_pack: tuple[Run, ...] = ()
        self.of_reads: tuple[Run, ...] = ()
        self.of_chunk: tuple[Run, ...] = ()

    def begin(self, adapters: Sequence[int], tokens: Sequence[int], reads: Sequence[int]) -> None:
        """A pack is going to run.

        Args:
            adapters: by their numbers, in the order of the row.
            tokens: rows of each.
            reads: of each, how many rows are read; they are read in the adapters' order.
        """
        self._adapters = tuple(adapters)
        self._borders = np.cumsum([0, *tokens])
        self.of_pack = self._runs(self._borders, 0, int(self._borders[-1]))
        self.of_reads = self._runs(np.cumsum([0, *reads]), 0, sum(reads))

    def enter(self, rows: slice, at: NDArray[np.int64] | None) -> None:
        """The next products are of these rows.

        Args:
            rows: of the pack, or of what was gathered of it.
            at: of what was gathered, each one's row in the pack, ascending; None for the pack.
        """
        borders = self._borders if at is None else np.searchsorted(at, self._borders)
        self.of_chunk = self._runs(borders, rows.start, rows.stop)

    def _runs(self, borders: NDArray[np.int64], start: int, stop: int) -> tuple[Run, ...]:
        within = (np.clip(borders, start, stop) - start).tolist()
        return tuple(
            Run(adapter, begin, end)
            for adapter, (begin, end) in zip(self._adapters, pairwise(within), strict=True)
            if begin < end
        )


class Adapters:
    """The low-rank parts of adapters on one base.

    Args:
        parts: of each adapter, by the names of the linear layers in the trunk; empty for the base
            as it is.
    """

    def __init__(self, parts: Sequence[Mapping[str, LowRankPart]]) -> None:
        self._parts = tuple(parts)
        self.rows = AdapterRows()

    def products(self, trunk: Any, product: MakeProduct) -> MakeProduct:
        """What makes a chunked trunk's products: the base's, with the adapters' parts on top.

        Args:
            trunk: the base's, whose linear layers the products are of.
            product: how the base multiplies.
        """
        own = {trunk.get_submodule(name): parts for name, parts in self._by_layer().items()}

        def make(linear: nn.Linear) -> Product:
            base = product(linear)
            return _AdaptedProduct(base, own[linear], self.rows) if linear in own else base

        return make

    def put_on(self, trunk: Any, *, only_read: str | None) -> None:
        """Let a trunk that transformers runs add the adapters' parts.

        Args:
            trunk: the base's; its linear layers' `forward` is replaced on the instances.
            only_read: beginning of the names of those that get only the rows that are read; None
                for none.
        """
        for name, parts in self._by_layer().items():
            layer = trunk.get_submodule(name)
            reads = only_read is not None and name.startswith(only_read)
            layer.forward = _adapted(layer.forward, parts, self.rows, reads=reads)

    def _by_layer(self) -> dict[str, tuple[LowRankPart | None, ...]]:
        """Of each layer that any adapter adds to, every adapter's part."""
        names = {name: None for own in self._parts for name in own}
        return {name: tuple(own.get(name) for own in self._parts) for name in names}


class _AdaptedProduct:
    """A linear layer's product of which each row gets its adapter's part."""

    def __init__(
        self, base: Product, parts: Sequence[LowRankPart | None], rows: AdapterRows
    ) -> None:
        self._base = base
        self._parts = parts
        self._rows = rows
        self.out_features = base.out_features

    def __call__(self, rows: Tensor) -> Tensor:
        out = self._base(rows)
        add_parts(out, rows, self._parts, self._rows.of_chunk)
        return out

    def into(self, rows: Tensor, out: Tensor) -> None:
        self._base.into(rows, out)
        add_parts(out, rows, self._parts, self._rows.of_chunk)

    def add_to(self, hidden: Tensor, rows: Tensor) -> None:
        self._base.add_to(hidden, rows)
        add_parts(hidden, rows, self._parts, self._rows.of_chunk)


def _adapted(
    base: Callable[[Tensor], Tensor],
    parts: Sequence[LowRankPart | None],
    rows: AdapterRows,
    *,
    reads: bool,
) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        out = base(x)
        runs = rows.of_reads if reads else rows.of_pack
        add_parts(out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), parts, runs)
        return out

    return forward


def add_parts(
    out: Tensor, x: Tensor, parts: Sequence[LowRankPart | None], runs: Sequence[Run]
) -> None:
    """Add scaling · (x · downᵀ) · upᵀ of each row's own adapter, in place.

    Args:
        out: (rows, features out).
        x: (rows, features in).
        parts: by the adapters' numbers; None where an adapter leaves the layer as it is.
        runs: which rows are whose.
    """
    for run in runs:
        part = parts[run.adapter]
        if part is not None:
            low = x[run.begin : run.end] @ part.down.t()
            out[run.begin : run.end].addmm_(low, part.up.t(), alpha=part.scaling)
