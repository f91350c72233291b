import pytest

from rm_core.types import Dialogue, Message, RenderedText, RewardInput, TokenIds
from service.watchdog.engine_watch import EngineWatch, num_characters
from service.watchdog.limits import WatchLimits


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


def test_a_pack_goes_by_what_was_learned_before_it_began() -> None:
    watch = EngineWatch(limits=WatchLimits(warm_up=-1.0, floor=50.0))

    with watch.forward(10):
        assert "warm_up" in (watch.watchdog.cause or "")
    watch.pack_times.measured(10, 0.1)
    with watch.forward(10):
        assert watch.watchdog.cause is None
