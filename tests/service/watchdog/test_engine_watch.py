import pytest

from rm_core.types import Dialogue, Message, RenderedText, RewardInput, TokenIds
from service.watchdog.engine_watch import EngineWatch, num_characters
from service.watchdog.limits import FLOOR_SECONDS, TIMES_THE_SLOWEST, WatchLimits
from service.watchdog.running_clock import RunningClock
from tests.service.streams.store_calls import FakeClock


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (Dialogue("12345", "678"), 8),
        (Dialogue((Message("user", "12", '{"a":1}'), Message("user", "3")), "45"), 12),
        (Dialogue("", "1", response_fields="{}"), 3),
        (RenderedText("1234"), 4),
        (TokenIds((1, 2, 3)), 3),
    ],
)
def test_the_length_of_a_text_is_known_before_it_is_rendered(text: RewardInput, count: int) -> None:
    assert num_characters(text) == count


def test_each_call_is_overdue_by_its_own_limit() -> None:
    watch = EngineWatch(limits=WatchLimits(forward=-1.0, tokenize=-1.0, load=-1.0))
    for call in (watch.forward(1), watch.plan(), watch.tokenize([TokenIds((1,))]), watch.load()):
        with call:
            assert watch.watchdog.cause is not None
    with watch.event_loop():
        assert watch.watchdog.cause is None


def test_a_pack_goes_by_what_those_before_it_took() -> None:
    watch = EngineWatch(limits=WatchLimits(warm_up=-1.0, floor=50.0))

    with watch.forward(10):
        assert "warm_up" in (watch.watchdog.cause or "")
    with watch.forward(10):
        assert watch.watchdog.cause is None


def test_what_failed_or_was_run_by_other_models_says_nothing_of_the_next() -> None:
    watch = EngineWatch()
    with pytest.raises(ZeroDivisionError), watch.forward(10):
        raise ZeroDivisionError
    with watch.forward(10, learns=False):
        pass
    assert watch.pack_times.limit(10)[0] == "warm_up"
    with watch.forward(10):  # in the middle of it, other models come
        watch.forget()

    assert watch.pack_times.limit(10)[0] == "warm_up"
    with watch.forward(10):
        pass
    assert watch.pack_times.limit(10)[0] == "forward"
    watch.forget()
    assert watch.pack_times.limit(10)[0] == "warm_up"


def test_time_in_which_the_process_stood_still_is_not_learned() -> None:
    watch, time = EngineWatch(), FakeClock()
    watch.watchdog.clock = RunningClock(1.0, time)
    watch.watchdog.clock.tick()

    with watch.forward(10):
        time.now += 3600.0

    assert watch.pack_times.limit(10) == ("forward", FLOOR_SECONDS + TIMES_THE_SLOWEST)
