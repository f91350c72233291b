"""Adapters side by side: every text through each adapter on one base, in one run of the base.

The pack of the texts is laid end to end once for each adapter (`packing.beside`), and each row gets
its own adapter's low-rank parts (`trunk.adapted`). Shared prefixes, unread rows and attention are
those of any pack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rm_core.checkpoint.heads import ScalarHeads
from rm_core.checkpoint.low_rank import LowRankPart, without_adapter
from rm_core.engine.attention import TreePlan
from rm_core.engine.attention.kept import Capture, KeptRun
from rm_core.engine.forward.packed import PackedForward, PackedWay, TransformersTrunk, TrunkRun
from rm_core.engine.packing.beside import beside
from rm_core.engine.trunk.adapted import AdapterRows, Adapters
from rm_core.engine.trunk.chunked import ChunkedTrunk, is_llama_shaped
from rm_core.engine.trunk.last_layer import can_skip_rows
from rm_core.engine.trunk.products.choose import TORCHS_OWN, ProductChoice
from rm_core.engine.trunk.products.in_place import multiply_in_place
from rm_core.engine.trunk.products.mm import MmProduct

ROWS_TOGETHER = 4096
"""Rows up to which further adapters join a run: beyond it products are as fast as they get, and
memory is all that grows."""


class SideBySide:
    """Runs a pack through each adapter on a base; a `TrunkRun`.

    To a cache they are one trunk with as many layers as all adapters have together, each layer's
    once for each adapter: what it keeps of a text it keeps under all of them, and none ever reads
    another's.

    Args:
        run: of the base's trunk, whose products add the adapters' parts.
        rows: what those products ask for whose their rows are.
        count: of adapters.
    """

    shares_exactly = False

    def __init__(self, run: TrunkRun, rows: AdapterRows, count: int) -> None:
        self._run = run
        self._rows = rows
        self._count = count

    def __call__(self, input_ids: Tensor, tree: TreePlan) -> Tensor:
        """Hidden states that the heads read: (tokens,) int64 → (reads, adapters · hidden)."""
        together = max(1, ROWS_TOGETHER // len(input_ids))
        states: list[Tensor] = []
        for first in range(0, self._count, together):
            adapters = range(first, min(first + together, self._count))
            states += self._states(adapters, input_ids, tree)
        return torch.cat(states, dim=-1)

    def _states(self, adapters: range, input_ids: Tensor, tree: TreePlan) -> Sequence[Tensor]:
        """The states under each of some adapters, (reads, hidden)."""
        count, pack = len(adapters), tree.pack
        self._rows.begin(adapters, [pack.num_tokens] * count, [len(pack.read_rows)] * count)
        if self._count > 1:
            tree = self._joined(adapters, tree)
        return torch.split(self._run(input_ids.repeat(count), tree), len(pack.read_rows))

    def _joined(self, adapters: range, tree: TreePlan) -> TreePlan:
        """The plan of a row that holds a pack once for each of some adapters."""
        pack = beside([tree.pack] * len(adapters))
        device = tree.position_ids.device
        return replace(
            tree,
            pack=pack,
            position_ids=torch.from_numpy(pack.position_ids).to(device),
            read_rows=torch.from_numpy(pack.read_rows).to(device),
            kept=tuple(
                None if run is None else self._of_adapter(run, adapter)
                for adapter in adapters
                for run in tree.kept
            ),
            capture=None if tree.capture is None else self._taken_apart(adapters, tree),
        )

    def _of_adapter(self, run: KeptRun, adapter: int) -> KeptRun:
        return KeptRun(run.keys[adapter :: self._count], run.values[adapter :: self._count])

    def _taken_apart(self, adapters: range, tree: TreePlan) -> Capture:
        """Hands on what a layer of the row computed, as each adapter's own layer."""
        capture, tokens = tree.capture, tree.pack.num_tokens

        def take(layer: int, key: Tensor, value: Tensor) -> None:
            for place, adapter in enumerate(adapters):
                own = slice(place * tokens, (place + 1) * tokens)
                if capture is not None:
                    capture(layer * self._count + adapter, key[:, :, own], value[:, :, own])

        return take


class AdapterHeads:
    """The heads of adapters, each of which reads the states under its own adapter.

    Args:
        heads: of each adapter.
    """

    def __init__(self, heads: Sequence[ScalarHeads]) -> None:
        self._heads = tuple(heads)

    def evaluate(self, hidden: Tensor) -> Tensor:
        """Raw rewards: (texts, adapters · hidden) float32 → (texts, heads of all) float32."""
        own = hidden.chunk(len(self._heads), dim=-1)
        return torch.cat(
            [heads.evaluate(states) for heads, states in zip(self._heads, own, strict=True)], dim=-1
        )

    def __call__(self, hidden: Tensor) -> list[list[float]]:
        """See `ScalarHeads`."""
        rewards: list[list[float]] = self.evaluate(hidden.float()).tolist()
        return rewards


@dataclass(frozen=True, slots=True)
class OnBase:
    """What is read under one adapter, or on the base without one.

    Attributes:
        model: for sequence classification, on weights that the others share.
        parts: what the adapter adds to the base's linear layers, by their names; empty for none.
        heads: all that read its trunk, the model's own first.
    """

    model: Any
    parts: Mapping[str, LowRankPart]
    heads: Sequence[Any]


def side_by_side_ways(
    members: Sequence[OnBase], products: ProductChoice = TORCHS_OWN
) -> list[PackedWay]:
    """The ways to run adapters on one base together, the fastest first.

    Args:
        members: at least one; the first one's base is run.
        products: what multiplies the base's linear layers.
    """
    return [way for choice in products.tries() for way in _ways_by(choice, members)]


def _ways_by(choice: ProductChoice, members: Sequence[OnBase]) -> list[PackedWay]:
    """The ways with one choice of products."""
    onednn = choice.onednn
    by = "" if onednn is None else "by oneDNN "
    adapters = Adapters([member.parts for member in members])
    heads = AdapterHeads([ScalarHeads(member.heads) for member in members])
    told = _told(members)

    def forward(reason: str, run: Callable[[Any], TrunkRun]) -> PackedForward:
        base = without_adapter(members[0].model)
        together = SideBySide(run(base), adapters.rows, len(members))
        return PackedForward(base, run=together, heads=heads, reason=f"{reason}, {told}")

    def chunks(base: Any) -> TrunkRun:
        trunk = base.base_model
        rows = None if onednn is None else onednn.chunk_rows
        products = adapters.products(trunk, MmProduct if onednn is None else onednn.product)
        return ChunkedTrunk(trunk, rows=rows, product=products, enter=adapters.rows.enter)

    def layers(base: Any, *, skip_unread: bool) -> TrunkRun:
        trunk = base.base_model
        if onednn is not None:
            multiply_in_place(trunk, onednn.product)
        last = f"layers.{len(trunk.layers) - 1}.mlp." if skip_unread else None
        adapters.put_on(trunk, only_read=last)
        return TransformersTrunk(base, skip_unread=skip_unread)

    def way(name: str, reason: str, run: Callable[[Any], TrunkRun]) -> PackedWay:
        return PackedWay(f"{by}{name}", partial(forward, reason, run), choice)

    plain = "decoder with replaceable attention"
    ways = [way("with every row of the last layer", plain, partial(layers, skip_unread=False))]
    base = without_adapter(members[0].model)
    if can_skip_rows(base.base_model):
        skipping = partial(layers, skip_unread=True)
        ways.insert(0, way("with the last layer cut short", plain, skipping))
    if base.device.type == "cpu" and is_llama_shaped(base.base_model):
        reason = "Llama-shaped decoder on the CPU, run chunk by chunk"
        ways.insert(0, way("chunk by chunk", reason, chunks))
    return ways


def _told(members: Sequence[OnBase]) -> str:
    count = sum(bool(member.parts) for member in members)
    adapters = "its adapter" if count == 1 else f"{count} adapters"
    beside = " and the base itself" if count < len(members) else ""
    alone = len(members) == 1
    return f"{adapters}{beside} {'added to its products' if alone else 'side by side'}"
