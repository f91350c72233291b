"""What company a request may expect: the recent peak, forgotten after a while."""

from service.batching.concurrency import ConcurrencyTracker
from tests.service.streams.store_calls import FakeClock


def test_a_lone_caller_expects_nobody_else() -> None:
    crowd = ConcurrencyTracker(FakeClock())
    for _ in range(3):
        with crowd.member():
            assert crowd.expected == 1


def test_the_recent_peak_is_expected_again_and_then_forgotten() -> None:
    clock = FakeClock()
    crowd = ConcurrencyTracker(clock)
    with crowd.member(), crowd.member(), crowd.member():
        pass

    clock.now += 0.9
    with crowd.member():
        assert crowd.expected == 3
    clock.now += 1.0
    with crowd.member():
        assert crowd.expected == 3
    clock.now += 5.0
    with crowd.member():
        assert crowd.expected == 1


def test_those_still_at_work_are_not_forgotten() -> None:
    clock = FakeClock()
    crowd = ConcurrencyTracker(clock)
    with crowd.member(), crowd.member():
        clock.now += 10.0
        assert crowd.expected == 2


def test_a_wait_in_vain_ends_the_memory_of_all_but_those_at_work() -> None:
    crowd = ConcurrencyTracker(FakeClock())
    with crowd.member(), crowd.member():
        with crowd.member(), crowd.member():
            pass
        assert crowd.expected == 4
        crowd.reset()
        assert crowd.expected == 2
        with crowd.member():
            assert crowd.expected == 3
