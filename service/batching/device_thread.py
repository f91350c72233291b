"""The one thread that runs forward passes."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from rm_core.errors import EngineClosed

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class DeviceThread:
    """Runs calls one after the other in a thread of its own, for the event loop to await.

    The thread dies of what no call should raise (SystemExit and the like); whoever waits is told.

    Args:
        name: of the thread, for debuggers.
    """

    def __init__(self, name: str = "rewardd-device") -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._lock = threading.Lock()
        self._dead = False

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether calls are still taken."""
        return self._thread.is_alive() and not self._dead

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` in the thread.

        Raises:
            EngineClosed: the thread is dead or died of this call.
            Exception: whatever `call` raised.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if not self.is_alive:
                raise EngineClosed("the device thread has ended")
            self._jobs.put((call, loop, future))
        return await future

    async def close(self, timeout_seconds: float) -> None:
        """Let the present call finish and end the thread; a call that hangs is left behind."""
        self._jobs.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, timeout_seconds)

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                if not self._do(job):
                    return
        finally:
            with self._lock:
                self._dead = True
            self._refuse_rest()

    def _do(self, job: _Job) -> bool:
        """Settle the job; False if the thread is to end."""
        try:
            result = job[0]()
        except Exception as exc:
            _post(job[1], _fail, job[2], exc)
        except BaseException:
            _post(job[1], _fail, job[2], EngineClosed("the device thread died"))
            return False
        else:
            _post(job[1], _succeed, job[2], result)
        return True

    def _refuse_rest(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                _post(job[1], _fail, job[2], EngineClosed("the device thread has ended"))


def _post(
    loop: asyncio.AbstractEventLoop,
    settle: Callable[["asyncio.Future[Any]", Any], None],
    future: "asyncio.Future[Any]",
    value: object,
) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle, future, value)


def _succeed(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
