"""While the device works: choose and plan what it will take next, if that is known."""

import asyncio

import structlog

from rm_core.types import EncodedItem, Scorer
from service.batching.pack_queue import PackQueue
from service.batching.queue import Entry
from service.watchdog.engine_watch import EngineWatch

_log = structlog.get_logger(__name__)

_REPLAN_SECONDS = 0.005
"""Arrivals come in bursts; choosing again after each would keep the event loop busy."""


class LookAhead:
    """Plans the next pack in a thread beside the present one's forward pass.

    Args:
        queue: of what waits.
        arrived: is set when something new waits.
        watch: of the planning.
    """

    def __init__(self, queue: PackQueue, arrived: asyncio.Event, watch: EngineWatch) -> None:
        self._queue = queue
        self._arrived = arrived
        self._watch = watch

    async def go_on(self) -> None:
        """Plan, and plan again after what arrives, until cancelled."""
        while True:
            pack = self._queue.plan()
            if pack is not None:
                await self._prepare(pack)
            self._arrived.clear()
            await self._arrived.wait()
            await asyncio.sleep(_REPLAN_SECONDS)

    async def _prepare(self, pack: list[Entry]) -> None:
        scorer = pack[0].request.submission.scorer
        if scorer is None:
            return
        items = [entry.item for entry in pack]
        try:
            await asyncio.to_thread(self._plan, scorer, items)
        except Exception as exc:
            # The forward plans again, and what fails there has an entry to answer for it.
            _log.warning("planning_ahead_failed", error=type(exc).__name__, items=len(items))

    def _plan(self, scorer: Scorer, items: list[EncodedItem]) -> None:
        with self._watch.plan():
            scorer.plan_ahead(items)
