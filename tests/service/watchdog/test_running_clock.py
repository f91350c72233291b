from service.watchdog.running_clock import RunningClock
from tests.service.streams.store_calls import FakeClock


def test_all_seconds_count_until_somebody_ticks() -> None:
    time = FakeClock()
    clock = RunningClock(1.0, time)
    began = clock()

    time.now += 3600.0

    assert clock() - began == 3600.0


def test_a_process_that_was_stopped_finds_that_hardly_any_time_has_passed() -> None:
    time = FakeClock()
    clock = RunningClock(1.0, time)
    clock.tick()
    began = clock()

    for _ in range(4):
        time.now += 0.5
        clock.tick()
    assert clock() - began == 2.0

    time.now += 3600.0
    assert clock() - began == 3.0
    clock.tick()
    time.now += 0.5
    assert clock() - began == 3.5
