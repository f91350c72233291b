from hypothesis import given
from hypothesis import strategies as st

from training.losses import compared_positions

IDS = st.lists(st.integers(0, 2), min_size=1, max_size=7)


def compared(chosen: list[int], rejected: list[int]) -> list[tuple[int, int]]:
    """Read at their last tokens."""
    return compared_positions(
        chosen, rejected, chosen_end=len(chosen) - 1, rejected_end=len(rejected) - 1
    )


def test_tokens_are_compared_from_where_they_part_to_the_end_of_the_shorter_and_at_the_ends() -> (
    None
):
    assert compared([1, 2, 3, 4], [1, 2, 9, 9, 9, 9]) == [(2, 2), (3, 3), (3, 5)]
    assert compared([1, 2, 9, 9, 9, 9], [1, 2, 3, 4]) == [(2, 2), (3, 3), (5, 3)]


def test_of_equally_long_responses_the_ends_are_compared_once() -> None:
    assert compared([1, 5, 6], [1, 7, 6]) == [(1, 1), (2, 2)]


def test_where_one_response_begins_the_other_their_ends_alone_are_compared() -> None:
    assert compared([1, 2], [1, 2, 3, 4]) == [(1, 3)]
    assert compared([1, 2], [1, 2]) == [(1, 1)]


def test_nothing_behind_the_read_position_is_compared() -> None:
    found = compared_positions([1, 2, 3, 0], [1, 4, 0, 0], chosen_end=2, rejected_end=1)
    assert found == [(1, 1), (2, 1)]


@given(chosen=IDS, rejected=IDS)
def test_every_compared_token_is_inside_its_response_and_behind_what_they_share(
    chosen: list[int], rejected: list[int]
) -> None:
    positions = compared(chosen, rejected)
    assert positions[-1] == (len(chosen) - 1, len(rejected) - 1)
    assert positions == sorted(set(positions))
    for own, other in positions[:-1]:
        assert own == other
        assert chosen[: own + 1] != rejected[: own + 1]
