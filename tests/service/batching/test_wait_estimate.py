"""The wait is what comes before a newcomer, in packs that texts or tokens fill."""

import pytest

from service.batching.queue import Flow
from service.batching.wait_estimate import WaitEstimate

A, B = Flow(b"a", "bulk"), Flow(b"b", "bulk")
NOW = Flow(b"a", "interactive")


def estimate(items=None, tokens=None, **values) -> WaitEstimate:
    """Packs of 10 texts or 100 tokens that take 1 s and 10 ms a token."""
    given = {"max_pack_items": 10, "max_pack_tokens": 100, "bulk_every_packs": 4, **values}
    made = WaitEstimate(items or {}, tokens or {}, **given)
    for size in (10, 100, 50):
        made.rate.measured(size, size, 1.0 + 0.01 * size)
    return made


def test_no_wait_where_nothing_is_before():
    assert estimate().seconds(A) == 0.0


def test_a_queue_of_long_texts_is_bounded_by_tokens():
    assert estimate({A: 10}, {A: 1000}).seconds(A) == pytest.approx(10 * 1.0 + 10.0)


def test_a_queue_of_short_texts_is_bounded_by_their_number():
    assert estimate({A: 1000}, {A: 1000}).seconds(A) == pytest.approx(100 * 1.0 + 10.0)


def test_another_callers_backlog_counts_as_far_as_his_turns_go():
    backlog = estimate({B: 1000}, {B: 10_000})

    # a quantum of an eighth of a pack, and the present pack
    assert backlog.seconds(A) == pytest.approx(2 * 1.0 + 112.5 * 0.01)
    assert backlog.seconds(B) == pytest.approx(100 * 1.0 + 100.0)


def test_who_has_a_backlog_himself_waits_for_as_much_of_the_others():
    backlog = estimate({A: 20, B: 1000}, {A: 200, B: 10_000})

    before = 200 + (200 + 12.5) + 100
    assert backlog.seconds(A) == pytest.approx(6 * 1.0 + before * 0.01)


def test_bulk_work_lets_pass_what_the_rotation_lets_pass():
    flood = estimate({NOW: 10**6}, {NOW: 10**7})

    assert flood.seconds(B) == pytest.approx((1 + 3) * (1.0 + 1.0))
    always = estimate({NOW: 10**6}, {NOW: 10**7}, bulk_every_packs=1)
    assert always.seconds(B) == pytest.approx(1.0 + 1.0)


def test_texts_that_share_what_they_begin_with_fill_fewer_packs():
    plain, sharing = estimate({A: 10}, {A: 1000}), estimate({A: 10}, {A: 1000})
    for _ in range(200):
        sharing.rate.measured(500, 100, 2.0)

    assert sharing.seconds(A) < plain.seconds(A)
    assert sharing.seconds(A) == pytest.approx(4.0, rel=0.05)
