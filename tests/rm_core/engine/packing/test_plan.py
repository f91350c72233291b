"""The plan covers every token of every sequence once and reconstructs positions and ancestors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.plan import Pack, common_prefix_length, plan_pack
from tests.rm_core.engine.attention.oracles import WarmPack, warm_packs

small_ids = st.lists(st.integers(0, 2), min_size=1, max_size=24)


@st.composite
def families(draw: st.DrawFn) -> list[list[int]]:
    """Sequences that share prefixes of many depths, with repetitions."""
    roots = draw(st.lists(small_ids, min_size=1, max_size=3))
    sequences: list[list[int]] = list(roots)
    for _ in range(draw(st.integers(0, 8))):
        base = draw(st.sampled_from(sequences))
        cut = draw(st.integers(0, len(base)))
        sequences.append(base[:cut] + draw(small_ids))
    return draw(st.permutations(sequences))


def path_to(pack: Pack, read_row: int) -> list[int]:
    """The rows from a sequence's beginning to a row, by walking the segments."""
    index = next(i for i, s in enumerate(pack.segments) if s.start <= read_row < s.end)
    chain = [pack.segments[i] for i in pack.chain(index)]
    rows = [row for s in chain[:-1] for row in range(s.start, s.end)]
    return [*rows, *range(chain[-1].start, read_row + 1)]


def reconstruct(pack: Pack, read_row: int) -> list[int]:
    """The tokens from a sequence's beginning to a row; their positions count from 0."""
    rows = path_to(pack, read_row)
    assert [int(pack.position_ids[row]) for row in rows] == list(range(len(rows)))
    return [int(pack.input_ids[row]) for row in rows]


@given(sequences=families(), share=st.booleans(), min_shared=st.integers(1, 6))
def test_every_sequence_is_found_again_by_walking_its_segments(
    sequences: list[list[int]], share: bool, min_shared: int
) -> None:
    reads = [len(ids) - 1 for ids in sequences]

    pack = plan_pack(sequences, reads, share=share, min_shared_tokens=min_shared)

    for ids, row in zip(sequences, pack.read_rows, strict=True):
        assert reconstruct(pack, int(row)) == ids


@given(sequences=families(), share=st.booleans(), min_shared=st.integers(1, 6))
def test_a_path_holds_each_token_of_its_sequence_once_and_no_row_is_nobodys(
    sequences: list[list[int]], share: bool, min_shared: int
) -> None:
    reads = [len(ids) - 1 for ids in sequences]

    pack = plan_pack(sequences, reads, share=share, min_shared_tokens=min_shared)

    paths = [path_to(pack, int(row)) for row in pack.read_rows]
    for ids, path in zip(sequences, paths, strict=True):
        assert len(set(path)) == len(path) == len(ids)
    assert {row for path in paths for row in path} == set(range(pack.num_tokens))


@given(sequences=families(), min_shared=st.integers(1, 6))
def test_segments_tile_the_row_and_subtrees_nest(
    sequences: list[list[int]], min_shared: int
) -> None:
    pack = plan_pack(sequences, [len(s) - 1 for s in sequences], min_shared_tokens=min_shared)

    assert [s.start for s in pack.segments] == [0, *(s.end for s in pack.segments[:-1])]
    assert pack.segments[-1].end == pack.num_tokens
    for index, segment in enumerate(pack.segments):
        assert segment.start < segment.end <= segment.subtree_end
        below = [i for i in range(len(pack.segments)) if index in pack.chain(i) and i != index]
        rows = {row for i in below for row in range(pack.segments[i].start, pack.segments[i].end)}
        assert rows == set(range(segment.end, segment.subtree_end))


@given(sequences=families())
def test_with_full_sharing_each_distinct_prefix_is_one_row(sequences: list[list[int]]) -> None:
    pack = plan_pack(sequences, [len(s) - 1 for s in sequences], min_shared_tokens=1)

    prefixes = {tuple(ids[: n + 1]) for ids in sequences for n in range(len(ids))}
    assert pack.num_tokens == len(prefixes)
    assert pack.num_sequence_tokens == sum(len(ids) for ids in sequences)


def test_without_sharing_each_sequence_is_a_segment_in_the_given_order() -> None:
    pack = plan_pack([[5, 6], [5, 6], [5]], [1, 1, 0], share=False)

    assert pack.input_ids.tolist() == [5, 6, 5, 6, 5]
    assert pack.position_ids.tolist() == [0, 1, 0, 1, 0]
    assert pack.read_rows.tolist() == [1, 3, 4]
    assert [s.parent for s in pack.segments] == [None, None, None]


def test_a_group_shares_its_prompt_and_short_common_starts_stay_apart() -> None:
    prompt, other = list(range(100, 120)), [100, 101, 7, 7]

    pack = plan_pack([[*prompt, 1], [*prompt, 2, 2], other], [20, 21, 3], min_shared_tokens=8)

    assert pack.num_tokens == 20 + 1 + 2 + 4
    assert [(s.start, s.end, s.subtree_end, s.parent) for s in pack.segments] == [
        (0, 4, 4, None),
        (4, 24, 27, None),
        (24, 25, 25, 1),
        (25, 27, 27, 1),
    ]


def test_tokens_behind_the_read_position_are_left_out() -> None:
    pack = plan_pack([[1, 2, 3, 4], [1, 2]], [1, 1])

    assert pack.input_ids.tolist() == [1, 2]
    assert pack.read_rows.tolist() == [1, 1]
    assert (pack.longest, pack.num_sequence_tokens) == (2, 4)


@given(sequences=families(), data=st.data(), share=st.booleans(), min_shared=st.integers(1, 6))
def test_every_further_position_is_found_at_its_own_prefix(
    sequences: list[list[int]], data: st.DataObject, share: bool, min_shared: int
) -> None:
    def some(ids: list[int]) -> list[int]:
        return data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=4))

    reads = [data.draw(st.integers(0, len(ids) - 1)) for ids in sequences]
    also = [some(ids) for ids in sequences]

    pack = plan_pack(
        sequences, reads, extra_positions=also, share=share, min_shared_tokens=min_shared
    )

    wanted = list(zip(sequences, reads, strict=True))
    wanted += [(ids, at) for ids, own in zip(sequences, also, strict=True) for at in own]
    for (ids, at), row in zip(wanted, pack.read_rows, strict=True):
        assert reconstruct(pack, int(row)) == ids[: at + 1]


def test_the_row_goes_as_far_as_the_last_position_that_is_read() -> None:
    pack = plan_pack([[1, 2, 3, 4, 5]], [1], extra_positions=[[3, 0]])

    assert pack.input_ids.tolist() == [1, 2, 3, 4]
    assert pack.read_rows.tolist() == [1, 3, 0]


def test_a_deep_chain_of_nested_sequences_needs_no_recursion() -> None:
    sequences = [list(range(n)) for n in range(1, 1500)]

    pack = plan_pack(sequences, [len(s) - 1 for s in sequences], min_shared_tokens=1)

    assert pack.num_tokens == 1499


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [([], [1], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 9], [1, 8], 1), ([3], [4], 0)],
)
def test_common_prefix_length(first: list[int], second: list[int], length: int) -> None:
    assert common_prefix_length(np.array(first, int), np.array(second, int)) == length


@given(warm=warm_packs())
def test_a_path_holds_what_the_cache_does_and_computes_the_rest_from_the_first_read_on(
    warm: WarmPack,
) -> None:
    pack = warm.pack

    for index, (sequence, own) in enumerate(zip(warm.sequences, warm.reads, strict=True)):
        # The sequence's own read, by the order that the pack's reads stand in.
        row = int(pack.read_rows[index])
        at = next(i for i, s in enumerate(pack.segments) if s.start <= row < s.end)
        tokens: list[int] = []
        kept = 0
        for i in pack.chain(at):
            segment, owner = pack.segments[i], warm.sequences[pack.owners[i]]
            assert segment.position == len(tokens)
            length = segment.kept or min(segment.end, row + 1) - segment.start
            tokens += owner[len(tokens) : len(tokens) + length]
            kept += segment.kept
            assert not (segment.kept and kept != len(tokens)), "what is kept comes first"
            if segment.kept:
                assert segment.start == segment.end
            else:
                rows = slice(segment.start, segment.start + length)
                assert pack.input_ids[rows].tolist() == tokens[-length:]
                assert pack.position_ids[rows].tolist() == list(range(len(tokens)))[-length:]
            assert segment.end <= row < segment.subtree_end or i == at
        assert tokens == sequence[: own[0] + 1]
        assert kept <= min(own)


@given(warm=warm_packs())
def test_every_read_has_a_row_of_its_own_token(warm: WarmPack) -> None:
    firsts = [own[0] for own in warm.reads]
    others = [at for own in warm.reads for at in own[1:]]
    sequences = [*range(len(firsts)), *(i for i, own in enumerate(warm.reads) for _ in own[1:])]

    for i, at, row in zip(sequences, firsts + others, warm.pack.read_rows, strict=True):
        assert int(warm.pack.position_ids[row]) == at
        assert int(warm.pack.input_ids[row]) == warm.sequences[i][at]


def test_a_kept_prompt_is_one_segment_without_rows_above_its_group() -> None:
    prompt = list(range(20))
    sequences = [[*prompt, 50, 51], [*prompt, 60, 61, 62], [7] * 9]

    pack = plan_pack(sequences, [21, 22, 8], cached=[[12, 20], [12, 20], []])

    found = [(s.start, s.end, s.subtree_end, s.position, s.parent, s.kept) for s in pack.segments]
    assert found == [
        (0, 0, 5, 0, None, 12),
        (0, 0, 5, 12, 0, 8),
        (0, 2, 2, 20, 1, 0),
        (2, 5, 5, 20, 1, 0),
        (5, 14, 14, 0, None, 0),
    ]
    assert pack.longest == 23
    assert pack.num_sequence_tokens == 22 + 23 + 9


def test_a_read_within_what_is_kept_is_computed_from_there_on() -> None:
    text = list(range(30))

    pack = plan_pack([text], [29], extra_positions=[[14]], cached=[[10, 30]])

    kept = [segment.kept for segment in pack.segments]
    assert kept == [10, 4, 0]
    assert pack.input_ids.tolist() == text[14:]


@pytest.mark.parametrize("early", [0, 1])
def test_equal_texts_are_one_row_though_one_of_them_is_read_earlier(early: int) -> None:
    text = list(range(30))
    extra: list[list[int]] = [[], []]
    extra[early] = [14]

    pack = plan_pack([text, text], [29, 29], extra_positions=extra, cached=[[30], [30]])

    assert [segment.kept for segment in pack.segments] == [14, 0]
    assert pack.read_rows.tolist() == [15, 15, 0]


def test_less_than_a_useful_prefix_is_not_taken_from_the_cache() -> None:
    text = list(range(30))

    pack = plan_pack([text], [29], cached=[[7]])

    assert [segment.kept for segment in pack.segments] == [0]
