"""Packs laid side by side are the same packs, each with rows and segments of its own."""

from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.beside import beside
from rm_core.engine.packing.plan import plan_pack
from tests.rm_core.engine.packing.test_plan import families, reconstruct


@given(st.lists(families(), min_size=1, max_size=3))
def test_every_text_is_read_whole_within_its_own_pack(groups: list[list[list[int]]]) -> None:
    packs = [
        plan_pack(texts, [len(text) - 1 for text in texts], min_shared_tokens=1) for texts in groups
    ]

    together = beside(packs)

    texts = [text for group in groups for text in group]
    assert [reconstruct(together, int(row)) for row in together.read_rows] == texts
    assert together.num_tokens == sum(pack.num_tokens for pack in packs)
    assert together.longest == max(map(len, texts))


def test_equal_packs_share_nothing() -> None:
    pack = plan_pack([[1, 2, 3], [1, 2, 4]], [2, 2], min_shared_tokens=1)

    together = beside([pack, pack])

    assert [(s.start, s.end, s.subtree_end, s.parent) for s in together.segments] == [
        (0, 2, 4, None), (2, 3, 3, 0), (3, 4, 4, 0), (4, 6, 8, None), (6, 7, 7, 3), (7, 8, 8, 3),
    ]  # fmt: skip
    assert together.read_rows.tolist() == [2, 3, 6, 7]


def test_runs_that_a_cache_holds_stay_without_rows() -> None:
    pack = plan_pack([[1, 2, 3]], [2], cached=[[2]], min_shared_tokens=1)

    kept = [(s.start, s.end, s.kept) for s in beside([pack, pack]).segments]

    assert kept == [(0, 0, 2), (0, 1, 0), (1, 1, 2), (1, 2, 0)]
