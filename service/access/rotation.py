"""Rotation: keys that were changed in the file count without a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from rm_core.errors import ConfigurationError
from service.access.api_keys import ApiKeys
from service.observability.metrics import Metrics

PERIOD_SECONDS = 1.0
"""How soon a changed file is found by itself; SIGHUP has it read at once."""

_log = structlog.get_logger(__name__)


class Rotation:
    """Reads the file of keys again, and tells what came of it.

    A file that can't be used leaves the keys as they are, is an error in the log and sets
    `rm_api_keys_file_broken`.

    Args:
        keys: are changed in place.
        metrics: show whether the file could be used.
    """

    def __init__(self, keys: ApiKeys, metrics: Metrics) -> None:
        self._keys = keys
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: str | None = None  # what is wrong with the file, as the log says already

    def read_now(self) -> None:
        """Read the file soon, changed or not; to be called on the event loop."""
        if self._keys.file is not None:
            task = asyncio.create_task(self.look(always=True), name="rewardd-keys")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def look(self, *, always: bool = False) -> None:
        """Read the file if it changed.

        Args:
            always: read it in any case.
        """
        try:
            # In a thread: the file may lie on a disk that hangs.
            changed = await asyncio.to_thread(self._read, always)
        except ConfigurationError as exc:
            self._metrics.keys_file_broken.set(1)
            told, self._told = self._told, str(exc)
            if always or self._told != told:
                _log.error(
                    "api_keys_not_changed",
                    reason=self._told,
                    advice="the keys from before are still accepted; mend the file",
                )
        else:
            if changed:
                self._told = None
                self._metrics.keys_file_broken.set(0)
                _log.info("api_keys_changed", accepted=self._keys.num_keys)

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Look at the file again and again, while there is one."""
        if self._keys.file is None:
            yield
            return
        task = asyncio.create_task(self._go_on(), name="rewardd-keys-file")
        try:
            yield
        finally:
            task.cancel()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.look()

    def _read(self, always: bool) -> bool:
        if always:
            self._keys.read()
            return True
        return self._keys.read_if_changed()
