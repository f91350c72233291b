"""What packs take: learned exactly where it is a straight line, never negative, never stale."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.pack_rate import PackRate


def learned(*packs: tuple[float, float]) -> PackRate:
    times = PackRate()
    for tokens, seconds in packs:
        times.measured(tokens, tokens, seconds)
    return times


def test_nothing_is_known_before_the_first_pack():
    assert not PackRate().are_known
    assert PackRate().seconds(10, 1000) == 0.0
    assert PackRate().sharing == 1.0


def test_packs_of_one_size_tell_a_rate():
    assert learned((200, 2.0), (200, 2.0)).seconds(1, 800) == pytest.approx(8.0)


def test_packs_of_several_sizes_tell_what_is_the_packs_own_and_what_the_tokens():
    times = learned(*[(tokens, 0.5 + 0.001 * tokens) for tokens in (100, 1000, 300, 50)])

    assert times.seconds(4, 20) == pytest.approx(4 * 0.5 + 0.02)
    assert times.seconds(1, 8000) == pytest.approx(8.5)


@pytest.mark.parametrize("packs", [[(100, 1.0), (1000, 0.5)], [(100, 1.0), (200, 9.0)]])
def test_neither_part_is_ever_negative(packs):
    times = learned(*packs)

    assert times.seconds(1, 0) >= 0.0
    assert times.seconds(0, 1) >= 0.0


def test_the_recent_past_counts():
    times = learned(*[(100, 1.0)] * 100, *[(100, 0.1)] * 100)

    assert times.seconds(1, 1000) == pytest.approx(1.0, rel=0.01)


def test_sharing_is_how_much_waits_for_each_token_that_runs():
    times = PackRate()
    times.measured(tokens=4000, cost=1000, seconds=1.0)

    assert times.sharing == 4.0


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1e-4, 1e3)), min_size=1, max_size=50))
def test_the_line_goes_through_the_mean_of_what_was_seen(packs):
    times = learned(*packs)
    weights = [0.9 ** (len(packs) - 1 - at) for at in range(len(packs))]
    tokens = sum(w * t for w, (t, _) in zip(weights, packs, strict=True))
    seconds = sum(w * s for w, (_, s) in zip(weights, packs, strict=True))

    assert times.seconds(sum(weights), tokens) == pytest.approx(seconds, rel=1e-6)
