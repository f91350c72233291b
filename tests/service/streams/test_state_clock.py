"""The state's own time: never back, and five minutes at most from process to process."""

import pytest

from service.streams.state_clock import MAX_STEP_SECONDS, StateClock


class Times:
    def __init__(self) -> None:
        self.wall, self.monotonic = 1_000_000.0, 50.0

    def started(self, high_water: float | None) -> StateClock:
        clock = StateClock(lambda: self.wall, lambda: self.monotonic)
        clock.start(high_water)
        return clock


def test_a_new_state_has_the_walls_time_and_then_its_own() -> None:
    times = Times()
    clock = times.started(None)

    for jump in (30 * 3600.0, -90 * 86_400.0):
        times.wall += jump
        assert clock.now() == 1_000_000.0
    times.monotonic += 7.0
    assert clock.now() == 1_000_007.0


@pytest.mark.parametrize(
    ("away", "aged"),
    [(60.0, 60.0), (30 * 3600.0, MAX_STEP_SECONDS), (-30 * 3600.0, 0.0)],
    ids=["a minute", "thirty hours", "thirty hours back"],
)
def test_from_process_to_process_it_ages_as_the_wall_but_five_minutes_at_most(
    away: float, aged: float
) -> None:
    times = Times()
    times.wall += away

    clock = times.started(1_000_000.0)

    assert clock.now() == 1_000_000.0 + aged
    times.monotonic += 86_400.0  # and a day of running is a day
    assert clock.now() == 1_000_000.0 + aged + 86_400.0


def test_what_another_process_wrote_is_never_in_the_future() -> None:
    clock = Times().started(None)

    assert clock.now(high_water=1_000_500.0) == 1_000_500.0
    assert clock.now() == 1_000_500.0
