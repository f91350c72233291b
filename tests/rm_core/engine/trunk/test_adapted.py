"""Each row of a product gets its own adapter's part, however the rows are cut."""

import numpy as np
import torch
from torch import Tensor, nn

from rm_core.checkpoint.low_rank import LowRankPart
from rm_core.engine.trunk.adapted import AdapterRows, Adapters, Run
from rm_core.engine.trunk.products.mm import MmProduct

BASE = nn.Sequential(nn.Linear(6, 5))
OUTPUT, INPUT = 5, 6


def part(rank: int, scaling: float) -> LowRankPart:
    generator = torch.Generator().manual_seed(rank)
    down, up = (
        nn.Parameter(torch.randn(shape, generator=generator), requires_grad=False)
        for shape in ((rank, INPUT), (OUTPUT, rank))
    )
    return LowRankPart(down, up, scaling)


PARTS = [{"0": part(2, 0.5)}, {}, {"0": part(3, 4.0)}]
TOKENS = [4, 3, 5]
OWNERS = [0] * 4 + [1] * 3 + [2] * 5


def expected(x: Tensor, owners: list[int]) -> Tensor:
    """Row by row, by the definition."""
    rows = []
    for row, owner in zip(x, owners, strict=True):
        out = BASE(row)
        for own in PARTS[owner].values():
            out = out + own.scaling * (own.up @ (own.down @ row))
        rows.append(out)
    return torch.stack(rows)


@torch.inference_mode()
def test_a_product_adds_each_rows_own_part_in_chunks_that_cut_adapters_apart() -> None:
    adapters = Adapters(PARTS)
    adapters.rows.begin(range(3), TOKENS, [1, 1, 1])
    product = adapters.products(BASE, MmProduct)(BASE[0])
    x = torch.randn(12, INPUT, generator=torch.Generator().manual_seed(0))
    called, stored, added = [], torch.empty(12, OUTPUT), torch.ones(12, OUTPUT)

    for start in range(0, 12, 5):
        rows = slice(start, min(start + 5, 12))
        adapters.rows.enter(rows, None)
        called.append(product(x[rows]))
        product.into(x[rows], stored[rows])
        product.add_to(added[rows], x[rows])

    assert product.out_features == OUTPUT
    for found in (torch.cat(called), stored, added - 1):
        torch.testing.assert_close(found, expected(x, OWNERS))


@torch.inference_mode()
def test_rows_that_were_gathered_are_still_their_adapters() -> None:
    adapters = Adapters(PARTS)
    adapters.rows.begin(range(3), TOKENS, [1, 1, 1])
    product = adapters.products(BASE, MmProduct)(BASE[0])
    at = np.array([3, 6, 7, 11])
    x = torch.randn(4, INPUT, generator=torch.Generator().manual_seed(1))

    adapters.rows.enter(slice(1, 4), at)

    torch.testing.assert_close(product(x[1:]), expected(x[1:], [OWNERS[row] for row in at[1:]]))


@torch.inference_mode()
def test_a_trunk_that_transformers_runs_tells_all_rows_from_those_that_are_read() -> None:
    adapters = Adapters(PARTS)
    adapters.rows.begin([2, 0], [3, 2], [1, 2])
    whole, last = (nn.ModuleDict({"0": nn.Linear(INPUT, OUTPUT)}) for _ in range(2))
    for trunk in (whole, last):
        trunk["0"].load_state_dict(BASE[0].state_dict())
    adapters.put_on(whole, only_read=None)
    adapters.put_on(last, only_read="0")
    x = torch.randn(1, 5, INPUT, generator=torch.Generator().manual_seed(2))

    torch.testing.assert_close(whole["0"](x)[0], expected(x[0], [2, 2, 2, 0, 0]))
    torch.testing.assert_close(last["0"](x[:, :3])[0], expected(x[0, :3], [2, 0, 0]))


def test_a_layer_that_no_adapter_touches_keeps_its_own_product() -> None:
    product = Adapters([{}, {}]).products(BASE, MmProduct)(BASE[0])

    assert type(product) is MmProduct


def test_runs_tell_whose_rows_lie_where() -> None:
    rows = AdapterRows()
    rows.begin([4, 7], [3, 2], [1, 1])
    rows.enter(slice(2, 4), None)

    assert rows.of_pack == (Run(4, 0, 3), Run(7, 3, 5))
    assert rows.of_reads == (Run(4, 0, 1), Run(7, 1, 2))
    assert rows.of_chunk == (Run(4, 0, 1), Run(7, 1, 2))
