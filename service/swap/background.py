"""Work in a thread of its own that stands back behind the service's."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_NICENESS = 10
"""On Linux a thread has a niceness of its own, and those that it starts inherit it."""


def start(call: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Run a call in a new thread, which ends with it; a process that ends doesn't wait for it.

    Args:
        call: to be run.
        name: of the thread, for debuggers.

    Returns:
        Its result, for the running loop; cancelling it stops nothing.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # there is one without an error
        else:
            future.set_exception(error)

    def work() -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        result, error = None, None
        try:
            result = call()
        except Exception as exc:
            error = exc
        except BaseException as exc:  # SystemExit and the like: the caller is told all the same
            error = RuntimeError(type(exc).__name__)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future
