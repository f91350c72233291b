import pytest

from rm_core.errors import ConfigurationError
from service.app import engine_watch
from service.settings import Settings
from service.watchdog.limits import COMPILED_FLOOR_SECONDS, FLOOR_SECONDS, WatchLimits


def test_what_is_not_set_is_what_the_watchdog_holds_for_right() -> None:
    assert Settings().watchdog
    assert engine_watch(Settings()).limits == WatchLimits(floor=FLOOR_SECONDS)


def test_what_is_set_reaches_the_watchdog() -> None:
    settings = Settings(
        forward_timeout_seconds=1,
        warm_up_timeout_seconds=2,
        tokenize_timeout_seconds=3,
        load_timeout_seconds=4,
        compile_layers=True,
    )

    assert engine_watch(settings).limits == WatchLimits(1, COMPILED_FLOOR_SECONDS, 2, 3, 4)


@pytest.mark.parametrize("name", ["forward", "warm_up", "tokenize", "load"])
@pytest.mark.parametrize("seconds", [0, -1, 86_401])
def test_a_limit_is_more_than_nothing_and_at_most_a_day(name: str, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}_timeout_seconds"):
        Settings.load(**{f"{name}_timeout_seconds": seconds})
