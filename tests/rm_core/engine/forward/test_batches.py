"""How texts are put together where they aren't packed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.forward.batches import Together, batches_of, padded_batches
from rm_core.types import Encoded

LENGTHS = st.lists(st.integers(1, 300), max_size=60)


def texts_of(lengths: list[int], *, ends: int = 0) -> list[Encoded]:
    """Texts of token 5; every third has `ends` more of token 2 than the others."""
    rows = [[2] * (ends * (i % 3 == 0)) + [5] * n + [2] for i, n in enumerate(lengths)]
    return [Encoded(tuple(row), len(row) - 1) for row in rows]


@given(lengths=LENGTHS)
def test_padded_batches_hold_each_text_once_and_little_padding(lengths: list[int]) -> None:
    batches = padded_batches(lengths)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert sum(lengths[i] for i in batch) >= 0.9 * longest * len(batch)
    assert all(lengths[a[0]] >= lengths[b[0]] for a, b in pairwise(batches))


@pytest.mark.parametrize("together", ["padded", "equal_lengths", "one_by_one"])
@given(lengths=LENGTHS)
def test_each_text_is_in_one_batch_with_as_many_of_the_counted_token(
    together: Together, lengths: list[int]
) -> None:
    texts = texts_of(lengths, ends=1)

    batches = batches_of(texts, together, counted_token=2)

    assert sorted(index for batch in batches for index in batch) == list(range(len(texts)))
    for batch in batches:
        assert len({texts[i].input_ids.count(2) for i in batch}) == 1
        if together == "equal_lengths":
            assert len({texts[i].num_tokens for i in batch}) == 1
        if together == "one_by_one":
            assert len(batch) == 1


def test_texts_of_one_length_are_one_batch_and_a_trial_pads_everything() -> None:
    texts = texts_of([3, 9, 3, 3, 40])

    assert batches_of(texts, "equal_lengths") == [[0, 2, 3], [1], [4]]
    assert batches_of(texts, "padded", most_padding=1.0) == [[4, 1, 0, 2, 3]]
