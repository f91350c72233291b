"""How long a newcomer would wait: the packs that come before his, and how long such packs take.

What comes before him is what the policy would take first: his own work of the class, of other
callers' as much as their turns give them until then, and of the other class what the rotation lets
through. It is counted in texts as well as in tokens, since either may fill a pack.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rm_core.engine.packing.cost import saved_tokens
from rm_core.engine.packing.policy import ROUNDS_PER_PACK, Priority
from service.batching.pack_rate import PackRate
from service.batching.queue import Flow


@dataclass(slots=True)
class WaitEstimate:
    """The wait, by what each flow has in the queue and on the device.

    Attributes:
        items: of each flow; a live view.
        tokens: of each flow; a live view.
        max_pack_items: places of a pack.
        max_pack_tokens: budget of a pack.
        bulk_every_packs: how many packs one with bulk work first comes in.
        rate: of packs.
    """

    items: Mapping[Flow, int]
    tokens: Mapping[Flow, int]
    max_pack_items: int
    max_pack_tokens: int
    bulk_every_packs: int
    rate: PackRate = field(default_factory=PackRate)
    _cached: dict[Flow, int] = field(init=False, default_factory=dict)

    def discount(self, cached_tokens: int, flow: Flow) -> None:
        """Of a flow's tokens so many are cached: they take room, and hardly any time."""
        cached = self._cached.pop(flow, 0) + cached_tokens
        if cached:
            self._cached[flow] = cached

    def seconds(self, flow: Flow) -> float:
        """Until the first of a flow's further work would begin; 0 until a pack has run."""
        if not (self.items or self.tokens) or not self.rate.are_known:
            return 0.0
        tokens_of_pack = self.max_pack_tokens * self.rate.sharing
        work = {
            one: held - saved_tokens(self._cached.get(one, 0)) for one, held in self.tokens.items()
        }
        tokens = self._before(flow, work, tokens_of_pack)
        items = self._before(flow, self.items, self.max_pack_items)
        packs = max(items / self.max_pack_items, tokens / tokens_of_pack)
        return self.rate.seconds(math.ceil(packs), tokens)

    def _before(self, flow: Flow, work: Mapping[Flow, float], of_pack: float) -> float:
        """How much is taken before a newcomer of `flow`, where a pack takes `of_pack`."""
        other: Priority = "interactive" if flow.priority == "bulk" else "bulk"
        ahead = self._in_turn(flow, work, of_pack)
        others = sum(held for one, held in work.items() if one.priority == other)
        every = self.bulk_every_packs
        # The other class has the present pack, and those that the rotation gives it.
        if flow.priority == "bulk":
            return ahead + min(others, of_pack + (every - 1) * (of_pack + ahead))
        if every == 1:
            return ahead + others
        return ahead + min(others, of_pack + ahead / (every - 1))

    def _in_turn(self, flow: Flow, work: Mapping[Flow, float], of_pack: float) -> float:
        """What a class takes until it has taken what a caller has waiting in it."""
        own = work.get(flow, 0.0)
        others = [
            held for one, held in work.items() if one.priority == flow.priority and one != flow
        ]
        in_turn = sum(min(held, own + of_pack / ROUNDS_PER_PACK) for held in others)
        # And whatever the present pack holds of those who have had theirs.
        return own + in_turn + min(sum(others) - in_turn, of_pack)
