import pytest

from service.batching.admission import Admission
from service.batching.queue import Flow
from service.errors import QueueFull

INTERACTIVE, BULK = Flow(b"", "interactive"), Flow(b"", "bulk")


def admission(**values) -> Admission:
    return Admission(**{"max_items": 10, "max_tokens": 1000, "max_pack_tokens": 100, **values})


def measured(queue: Admission, *, tokens: float, seconds: float) -> None:
    queue.pack_rate.measured(tokens, tokens, seconds)


def test_the_last_place_is_given_and_the_next_refused():
    queue = admission()
    queue.admit_items(10, INTERACTIVE, 1.0)

    with pytest.raises(QueueFull) as refused:
        queue.admit_items(1, INTERACTIVE, 1.0)

    assert refused.value.reason == "queue_full"
    queue.release_items(1, INTERACTIVE)
    queue.admit_items(1, BULK, 1.0)


def test_a_refusal_takes_no_place():
    queue = admission()

    with pytest.raises(QueueFull):
        queue.admit_items(11, INTERACTIVE, 1.0)
    queue.admit_items(10, INTERACTIVE, 1.0)

    assert queue.items == 10


def test_tokens_are_bounded_over_both_classes():
    queue = admission()
    queue.admit_tokens(600, BULK)
    queue.admit_tokens(400, INTERACTIVE)

    with pytest.raises(QueueFull) as refused:
        queue.admit_tokens(1, INTERACTIVE)

    assert refused.value.reason == "token_budget"
    assert queue.tokens == 1000


def test_the_wait_is_unknown_and_so_none_before_the_first_pack():
    queue = admission()
    queue.admit_tokens(1000, INTERACTIVE)

    assert queue.wait_seconds(BULK) == 0.0
    assert queue.retry_after(BULK) == 1


def test_the_wait_is_what_stands_before_divided_by_the_measured_rate():
    queue = admission()
    measured(queue, tokens=200, seconds=2.0)
    queue.admit_tokens(300, INTERACTIVE)
    queue.admit_tokens(500, BULK)

    assert queue.wait_seconds(BULK) == pytest.approx(8.0)
    # its own class, the pack on the device, and bulk's every fourth pack among those to come
    assert queue.wait_seconds(INTERACTIVE) == pytest.approx((300 + 100 + 300 / 3) / 100)


def test_what_is_cached_takes_room_and_hardly_any_of_the_wait():
    queue = admission()
    measured(queue, tokens=100, seconds=1.0)
    for priority in (INTERACTIVE, BULK):
        queue.admit_tokens(400, priority)
    cold = queue.wait_seconds(BULK), queue.wait_seconds(INTERACTIVE)
    queue.discount(400, BULK)

    assert queue.tokens == 800
    assert (cold[0], queue.wait_seconds(BULK)) == (8.0, 4.0 + 0.5)
    assert queue.wait_seconds(INTERACTIVE) < cold[1]
    queue.discount(-400, BULK)
    assert (queue.wait_seconds(BULK), queue.wait_seconds(INTERACTIVE)) == cold


def test_interactive_work_is_not_refused_for_a_backlog_of_bulk():
    queue = admission(max_tokens=10**9)
    measured(queue, tokens=100, seconds=1.0)
    queue.admit_tokens(10**8, BULK)

    queue.admit_items(1, INTERACTIVE, 2.0)
    with pytest.raises(QueueFull) as refused:
        queue.admit_items(1, BULK, 100.0)

    assert refused.value.reason == "queue_wait"
    assert refused.value.retry_after_seconds == 120


def test_the_rate_follows_the_device():
    queue = admission()
    for _ in range(100):
        measured(queue, tokens=100, seconds=1.0)
    for _ in range(100):
        measured(queue, tokens=100, seconds=0.1)
    queue.admit_tokens(1000, BULK)

    assert queue.wait_seconds(BULK) == pytest.approx(1.0, rel=0.01)
