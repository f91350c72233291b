"""Work beside the service: its result or its error comes back, and it stands back on Linux."""

import os
import sys
import threading

import pytest

from service.swap import background


async def test_the_result_comes_back_from_a_thread_that_yields_to_others() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = niceness()
    found = await background.start(niceness, "test")

    assert found > own if sys.platform == "linux" else found == own
    assert niceness() == own


async def test_errors_come_back_also_those_that_would_end_the_thread() -> None:
    with pytest.raises(ZeroDivisionError):
        await background.start(lambda: 1 / 0, "test")
    with pytest.raises(RuntimeError, match="SystemExit"):
        await background.start(lambda: sys.exit(3), "test")
