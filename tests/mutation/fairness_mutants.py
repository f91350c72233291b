"""Mutants of turns, of room in the queue and of the wait; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

PACKING, TEST_PACKING = "rm_core/engine/packing", "tests/rm_core/engine/packing"
BATCHING, TEST_BATCHING = "service/batching", "tests/service/batching"

TURNS = target(f"{PACKING}/turns.py", f"{TEST_PACKING}/test_turns.py")
CALLERS = target(f"{PACKING}/policy.py", f"{TEST_PACKING}/test_policy_callers.py")
PLANNED = target(f"{BATCHING}/prefetch.py", f"{TEST_BATCHING}/test_prefetch.py")
LINE = target(f"{BATCHING}/line.py", f"{TEST_BATCHING}/test_line.py")
ROOM = target(
    f"{BATCHING}/room.py", f"{TEST_BATCHING}/test_room.py", f"{TEST_BATCHING}/test_waiting.py"
)
RATE = target(f"{BATCHING}/pack_rate.py", f"{TEST_BATCHING}/test_pack_rate.py")
WAIT = target(f"{BATCHING}/wait_estimate.py", f"{TEST_BATCHING}/test_wait_estimate.py")

FAIRNESS_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    TURNS: [
        ("self._debts.pop(caller, 0)", "0"),
        ("        elif credit < 0:\n", "        else:\n"),
        ("            self._debts.clear()\n", "            pass\n"),
        ("            del self._credit[caller]\n", "            pass\n"),
    ],
    CALLERS: [
        ("max(cost, self.tokens_per_item)", "cost"),
        ("elif others and filling.fits(own):", "elif False:"),
        ("                    callers.leave(caller)\n", "                    pass\n"),
        ("ROUNDS_PER_PACK = 8", "ROUNDS_PER_PACK = 1"),
    ],
    PLANNED: [
        ("new.caller not in self.left or", ""),
    ],
    LINE: [
        ("if not self._length and self._take(amount, flow):", "if self._take(amount, flow):"),
        ("                self._give_back(amount, flow)\n", "                pass\n"),
        (
            "                self.serve()  # the one behind may want less\n",
            "                pass\n",
        ),
        ("self._turns.charge(first.flow, first.amount)", "pass"),
        (".turns.charge(first.request, first.amount)", ""),
    ],
    ROOM: [
        ("self.capacity - self.held - owed", "self.capacity - self.held"),
        ("self._waiters == 0 or self._waiters", "self._waiters"),
        ("self.capacity * 3 // 4", "self.capacity"),
        ("self._in_bulk_part(amount + owed)", "self._in_bulk_part(amount)"),
        ("self._bulk == 0 or self._bulk", "self._bulk"),
        ("own == 0 or own + amount <= free - amount", "True"),
        ("len(self._callers) < 2 or", ""),
    ],
    RATE: [
        ("min(rate, max(0.0, slope / spread))", "slope / spread"),
        ("_MEMORY = 0.9", "_MEMORY = 1.0"),
    ],
    WAIT: [
        ("max(items / self.max_pack_items, tokens / tokens_of_pack)", "tokens / tokens_of_pack"),
        ("min(held, own + of_pack / ROUNDS_PER_PACK)", "held"),
        ("self.max_pack_tokens * self.rate.sharing", "self.max_pack_tokens"),
    ],
}
