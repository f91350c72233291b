"""Every query meets the keys of its path once, in calls that its position alone decides."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rm_core.engine.packing import paths
from rm_core.engine.packing.paths import PathPlan
from rm_core.engine.packing.plan import Pack, plan_pack
from tests.rm_core.engine.attention.oracles import trees
from tests.rm_core.engine.companies import examples

windows = st.one_of(st.none(), st.integers(1, 40))


@pytest.fixture(autouse=True)
def small_tiles() -> Iterator[None]:
    with patch.multiple(paths, TILE=8, QUERIES=4):
        yield


def keys_of(pack: Pack) -> list[list[int]]:
    """Of each row the key rows of its path, up to itself, by position."""
    found: list[list[int]] = []
    for index, segment in enumerate(pack.segments):
        above = [pack.segments[i] for i in pack.chain(index)[:-1]]
        before = [row for s in above for row in range(s.start, s.end)]
        rows = range(segment.start, segment.end)
        found += [[*before, *range(segment.start, row + 1)] for row in rows]
    return found


def met(plan: PathPlan) -> dict[int, list[tuple[Any, list[int]]]]:
    """Of each query row its calls in order: the shape it has there, and the keys it sees."""
    found: dict[int, list[tuple[Any, list[int]]]] = {}
    for call in (*plan.own, *plan.cut):
        for at, row in zip(call.taken.tolist(), call.rows.tolist(), strict=True):
            block, place = divmod(at, paths.QUERIES)
            assert call.queries[at] == row
            keys = call.keys[block * call.num_keys :][: call.num_keys].tolist()
            distance = place + call.offset - np.arange(call.num_keys)
            seen = (distance >= 0) & (distance < (plan.window or 10**6))
            shape = (call.offset, call.num_keys, place)
            found.setdefault(row, []).append((shape, [k for k, s in zip(keys, seen) if s]))  # noqa: B905
    for tile in plan.tiles:
        keys = np.arange(1000)[tile.keys].tolist()
        for first, last in tile.rows:
            for row in range(first, last):
                found.setdefault(row, []).append(("tile", keys))
    return found


@settings(max_examples=examples(40), deadline=None)
@given(pack=trees(), window=windows, data=st.data())
def test_every_query_meets_its_path_once(
    pack: Pack, window: int | None, data: st.DataObject
) -> None:
    rows = data.draw(st.sets(st.integers(0, pack.num_tokens - 1), min_size=1))
    asked = np.array(sorted(rows))
    expected = keys_of(pack)

    whole = met(PathPlan.of(pack, window=window))
    some = met(PathPlan.of(pack, rows=asked, window=window))

    for row, keys in enumerate(expected):
        seen = keys if window is None else keys[-window:]
        assert Counter(k for _, call in whole[row] for k in call) == Counter(seen)
    assert {int(asked[at]): calls for at, calls in some.items()} == {
        row: calls for row, calls in whole.items() if row in rows
    }


@settings(max_examples=examples(40), deadline=None)
@given(
    ids=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=40), min_size=1, max_size=9),
    window=windows,
)
def test_a_query_meets_the_same_shapes_in_company_as_alone(
    ids: list[list[int]], window: int | None
) -> None:
    reads = [len(own) - 1 for own in ids]
    together = plan_pack(ids, reads, min_shared_tokens=1)
    in_company = met(PathPlan.of(together, window=window))

    for index, own in enumerate(ids):
        alone = met(PathPlan.of(plan_pack([own], [len(own) - 1]), window=window))
        row = int(together.read_rows[index])
        assert [shape for shape, _ in in_company[row]] == [s for s, _ in alone[len(own) - 1]]


def test_what_a_cache_holds_stands_behind_the_rows() -> None:
    ids = list(range(30))
    pack = plan_pack([ids], [29], min_shared_tokens=1, cached=[(10, 20)])

    calls = met(PathPlan.of(pack))[9]

    # Positions 0–19 are kept, and so key rows 10–29; 20–29 are the row itself.
    assert [keys for _, keys in calls] == [
        [4, 5, 6, 7, 8, 9],
        list(range(10, 18)),
        list(range(18, 26)),
        [26, 27, 28, 29, 0, 1, 2, 3],
    ]
