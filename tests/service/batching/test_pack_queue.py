"""What waits for the device: in order, taken pack by pack, planned only where that is of use."""

import itertools
from typing import Any

from rm_core.engine.packing.policy import Priority, QueuedSequence, TokenBudgetController
from rm_core.types import Encoded, EncodedItem
from service.batching.pack_queue import PackQueue
from service.batching.queue import Entry, PendingRequest, Submission


class Waiting:
    """A queue of texts of three tokens each."""

    def __init__(self, max_items: int = 2) -> None:
        self.queue = PackQueue(TokenBudgetController(100), max_items, 4, lambda: False)
        self.order = itertools.count()

    def put(self, priority: Priority = "interactive", request: Any = None) -> Entry:
        if request is None:
            request = PendingRequest(Submission("/score", priority), [None], 1, None)  # type: ignore[arg-type]
        order = next(self.order)
        item = EncodedItem({"safety": Encoded((1, 2, 3), 2)})
        waiting = QueuedSequence(item, order, order, priority)
        entry = Entry(request, 0, waiting, float(order))
        self.queue.put(entry)
        return entry


def test_packs_are_taken_in_order_until_nothing_waits() -> None:
    waiting = Waiting()
    entries = [waiting.put() for _ in range(5)]

    assert (len(waiting.queue), waiting.queue.num_tokens) == (5, 15)
    assert waiting.queue.oldest_admitted_at == 0.0
    assert [waiting.queue.take() for _ in range(3)] == [entries[:2], entries[2:4], entries[4:]]
    assert (len(waiting.queue), waiting.queue.oldest_admitted_at) == (0, None)


def test_a_request_that_is_removed_leaves_the_others() -> None:
    waiting = Waiting()
    gone = waiting.put()
    stays = waiting.put()
    also_gone = waiting.put(request=gone.request)

    assert waiting.queue.remove(gone.request) == [gone, also_gone]
    assert waiting.queue.remove(gone.request) == []
    assert list(waiting.queue.since(0)) == [stays]
    assert waiting.queue.clear() == [stays]
    assert list(waiting.queue) == []


def test_the_next_pack_is_planned_once_and_only_where_not_all_fits() -> None:
    waiting = Waiting()
    for _ in range(2):
        waiting.put()
    assert waiting.queue.plan() is None

    third = waiting.put()
    planned = waiting.queue.plan()
    assert planned is not None
    assert waiting.queue.plan() is None

    assert waiting.queue.take() == planned
    assert waiting.queue.take() == [third]


def test_planning_ahead_takes_no_turn_from_bulk_work() -> None:
    waiting = Waiting(max_items=1)
    bulk = waiting.put("bulk")
    interactive = [waiting.put() for _ in range(8)]
    packs = []
    for _ in range(5):
        waiting.queue.plan()
        packs += waiting.queue.take()

    assert packs == [*interactive[:3], bulk, interactive[3]]
