"""Whether a refusal's time tells how much of a key was right; only `make chaos` measures it."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from service.access.api_keys import ApiKeys
from service.access.keys_file import ApiKey
from tests.chaos.conftest import Chaos

KEY = b"k" * 4096  # so long that a comparison which stops early would show
WRONG_AT_ONCE, WRONG_AT_THE_END = b"x" + KEY[1:], KEY[:-1] + b"x"
SAMPLES = 200_000
SUSPICIOUS = 4.5  # of |t|, as dudect takes it (Reparaz, Balasch, Verbauwhede 2017)


def welch_t(compare: Callable[[bytes], object], chaos: Chaos) -> float:
    """Welch's t of the times for the two wrong keys, in random order, without the slowest tenth."""
    chance = chaos.random("order")
    given = [chance.random() < 0.5 for _ in range(SAMPLES)]
    times = np.empty(SAMPLES)
    for index, at_once in enumerate(given):
        key = WRONG_AT_ONCE if at_once else WRONG_AT_THE_END
        began = time.perf_counter_ns()
        compare(key)
        times[index] = time.perf_counter_ns() - began
    chosen = times < np.quantile(times, 0.9)
    first = times[chosen & np.array(given)]
    second = times[chosen & ~np.array(given)]
    spread = first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)
    return float(first.mean() - second.mean()) / math.sqrt(spread)


@pytest.fixture(autouse=True)
def long_form(chaos: Chaos) -> None:
    if not chaos.full:
        pytest.skip("time is measured in the long form: make chaos")


def test_a_refusal_takes_the_same_time_whichever_byte_is_wrong(chaos: Chaos) -> None:
    keys = ApiKeys(ApiKey.of(key) for key in (b"first", KEY, b"last"))

    assert keys.find(KEY)
    assert abs(welch_t(keys.find, chaos)) < SUSPICIOUS


def test_a_comparison_that_stops_early_is_seen(chaos: Chaos) -> None:
    def early(given: bytes) -> bool:
        return given == KEY

    assert abs(welch_t(early, chaos)) > SUSPICIOUS
