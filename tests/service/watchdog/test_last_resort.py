import pytest

from service.watchdog.last_resort import GRACE_SECONDS, LastResort
from tests.service.streams.store_calls import FakeClock
from tests.service.watchdog.timer import Timer


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    return Timer(monkeypatch)


def test_it_stands_at_the_earliest_end_and_a_later_one_changes_nothing(timer: Timer) -> None:
    time = FakeClock()
    resort = LastResort(time)

    resort.cover(60.0)
    time.now += 1.0
    resort.cover(60.0)
    resort.cover(10.0)

    assert timer.set == [60.0 + GRACE_SECONDS, 10.0 + GRACE_SECONDS]


def test_it_follows_what_runs_and_goes_when_nothing_does(timer: Timer) -> None:
    time = FakeClock()
    resort = LastResort(time)

    resort.cover(10.0)
    resort.follow(30.0)
    resort.follow(-4.0)
    resort.follow(None)
    resort.follow(None)
    resort.cover(20.0)

    never = float("inf")
    grace = GRACE_SECONDS
    assert timer.set == [10.0 + grace, 30.0 + grace, grace, never, 20.0 + grace]
