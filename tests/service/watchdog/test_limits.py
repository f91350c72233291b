import pytest

from service.watchdog.limits import (
    FLOOR_SECONDS,
    TIMES_THE_SLOWEST,
    WARM_UP_SECONDS,
    PackTimes,
    WatchLimits,
)


def learned(seconds: float) -> float:
    return FLOOR_SECONDS + TIMES_THE_SLOWEST * seconds


def test_a_first_pack_may_take_as_long_as_warming_up() -> None:
    assert PackTimes(WatchLimits(warm_up=77.0)).limit(100) == ("warm_up", 77.0)


def test_a_pack_may_take_many_times_the_slowest_of_its_size_or_smaller() -> None:
    times = PackTimes(WatchLimits())
    times.measured(100, 2.0)
    times.measured(127, 3.0)
    times.measured(5, 7.0)
    times.measured(1000, 90.0)

    assert times.limit(64) == ("forward", learned(7.0))
    assert times.limit(1000) == ("forward", learned(90.0))


def test_a_size_between_those_that_were_run_goes_by_the_next_larger() -> None:
    times = PackTimes(WatchLimits())
    times.measured(10, 1.0)
    times.measured(1000, 4.0)
    times.measured(100_000, 500.0)

    assert times.limit(100) == ("forward", learned(4.0))
    assert times.limit(1) == ("forward", learned(1.0))


def test_a_larger_size_is_reckoned_as_if_all_of_it_were_attention_up_to_the_warm_up() -> None:
    times = PackTimes(WatchLimits())
    times.measured(8, 0.1)

    assert times.limit(16) == ("warm_up", learned(0.4))
    assert times.limit(32) == ("warm_up", learned(1.6))
    assert times.limit(8192) == ("warm_up", WARM_UP_SECONDS)


def test_one_slow_pack_is_forgotten_in_the_course_of_many() -> None:
    times = PackTimes(WatchLimits())
    times.measured(100, 60.0)
    times.measured(100, 0.5)
    assert times.limit(100)[1] > learned(50.0)
    for _ in range(1000):
        times.measured(100, 0.5)

    assert times.limit(100) == ("forward", learned(0.5))


def test_a_limit_that_is_set_holds_for_the_first_pack_and_for_all_others() -> None:
    times = PackTimes(WatchLimits(forward=5.0))
    assert times.limit(100) == ("forward", 5.0)
    times.measured(100, 60.0)
    assert times.limit(100_000) == ("forward", 5.0)


@pytest.mark.parametrize(("characters", "limits"), [(0, 1), (2**20, 2), (2**23, 9)])
def test_long_texts_may_be_tokenised_for_longer(characters: int, limits: int) -> None:
    assert WatchLimits(tokenize=10.0).of_characters(characters) == pytest.approx(10.0 * limits)
