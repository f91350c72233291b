"""The strategies to score a workload that `bench` times, from the plainest to the limit."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rm_core.engine import Engine, EngineOptions
from rm_core.engine.packing.cost import SharedPrefixCost
from rm_core.engine.packing.plan import plan_pack
from rm_core.engine.packing.policy import Budget, QueuedSequence, select_pack
from rm_core.engine.trunk.products.choose import choose_products
from rm_core.types import Encoded, EncodedItem, ItemRewards

Rewards = dict[str, list[float]]
"""Raw rewards by role, in the order of the texts."""

Products = Mapping[nn.Linear, Callable[[Tensor], Tensor]]
"""What computes each linear layer's product."""

BATCH = 8
"""Texts of a padded batch."""


class Strategy(Protocol):
    """One strategy to score the workload it was made for."""

    @property
    def name(self) -> str:
        """Its row of the table."""
        ...

    def run(self) -> Rewards:
        """Score every text; empty for a limit that scores nothing."""
        ...


@dataclass(slots=True)
class Padded:
    """transformers' own forward on right-padded batches.

    Attributes:
        name: its row.
        models: transformers models by role, each of which reads every batch.
        texts: token ids.
        batches: indices into `texts`.
    """

    name: str
    models: Mapping[str, Any]
    texts: Sequence[Sequence[int]]
    batches: Sequence[Sequence[int]]

    @torch.inference_mode()
    def run(self) -> Rewards:
        """Batch by batch, in each model."""
        rewards = {role: [0.0] * len(self.texts) for role in self.models}
        for batch in self.batches:
            for role, model in self.models.items():
                ids, mask = pad([self.texts[i] for i in batch], model)
                logits = model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
                for index, value in zip(batch, logits, strict=True):
                    rewards[role][index] = value
        return rewards


def pad(texts: Sequence[Sequence[int]], model: Any) -> tuple[Tensor, Tensor | None]:
    """Right-padded ids and their mask, (texts, longest), int64; no mask where nothing is padded."""
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), model.config.pad_token_id, dtype=torch.long)
    mask = torch.zeros((len(texts), longest), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    if bool(mask.all()):
        return ids.to(model.device), None
    return ids.to(model.device), mask.to(model.device)


def in_order(count: int, size: int = BATCH) -> list[list[int]]:
    """Batches in order of arrival."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def by_length(lengths: Sequence[int], size: int = BATCH) -> list[list[int]]:
    """Batches of similar length, longest first."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [[order[i] for i in batch] for batch in in_order(len(order), size)]


def in_waves(
    waves: Sequence[Sequence[int]], batches_of: Callable[[Sequence[int]], list[list[int]]]
) -> list[list[int]]:
    """Batches of texts that are there together, wave by wave.

    Args:
        waves: indices of the texts of each.
        batches_of: cuts the indices of one wave into batches of positions among them.
    """
    return [[wave[at] for at in batch] for wave in waves for batch in batches_of(wave)]


def by_group(groups: Sequence[Hashable]) -> list[list[int]]:
    """One batch for each group."""
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return list(members.values())


class EngineForward(Protocol):
    """What `Ours` needs of an engine."""

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        """Raw rewards of each item by model; see `rm_core.types.Scorer`."""
        ...


@dataclass(slots=True)
class Ours:
    """The engine as the service uses it: packs within a budget, one forward each.

    Attributes:
        name: its row.
        engine: the engine.
        items: encoded texts, in order of arrival.
        groups: of each item; members of one group are packed together.
        budget: of a pack, in tokens after sharing and in items.
        waves: indices of the items that are there together, in order; by default all at once.
    """

    name: str
    engine: Engine | EngineForward
    items: Sequence[EncodedItem]
    groups: Sequence[Hashable]
    budget: Budget
    waves: Sequence[Sequence[int]] = ()

    def run(self) -> Rewards:
        """Plan a pack, run it, and so on until nothing waits."""
        rewards: dict[int, ItemRewards] = {}
        for pack in self.packs():
            found = self.engine.forward([self.items[index] for index in pack])
            rewards.update(zip(pack, found, strict=True))
        names = list(rewards[0])
        return {name: [rewards[i][name][0] for i in range(len(self.items))] for name in names}

    def packs(self) -> list[list[int]]:
        """Indices of the items of each pack, as the scheduler would choose them."""
        waves = self.waves or (range(len(self.items)),)
        return [pack for wave in waves for pack in self._packs(list(wave))]

    def _packs(self, left: list[int]) -> list[list[int]]:
        packs: list[list[int]] = []
        while left:
            waiting = [QueuedSequence(self.items[i], i, self.groups[i]) for i in left]
            chosen = [left[at] for at in select_pack(waiting, self.budget, SharedPrefixCost)]
            packs.append(chosen)
            taken = set(chosen)
            left = [index for index in left if index not in taken]
        return packs


@dataclass(frozen=True, slots=True)
class PackSize:
    """A pack as the matrix products see it.

    Attributes:
        tokens: after sharing.
        read_rows: that a head reads.
    """

    tokens: int
    read_rows: int


def pack_sizes(packs: Sequence[Sequence[int]], texts: Sequence[Encoded]) -> list[PackSize]:
    """Sizes of packs after sharing."""
    sizes = []
    for pack in packs:
        chosen = [texts[index] for index in pack]
        plan = plan_pack([t.input_ids for t in chosen], [t.read_position for t in chosen])
        sizes.append(PackSize(plan.num_tokens, len(set(plan.read_rows.tolist()))))
    return sizes


class GemmLimit:
    """The bare linear layers of a trunk on the packs' tokens: no attention, norms or overhead.

    No engine that computes these products by the same libraries is faster.

    Args:
        name: its row.
        model: a transformers model whose trunk has `layers`.
        sizes: of the packs.
        skip_unread: whether the last layer's feed-forward half takes only the rows that a head
            reads, which is all that a reward needs; off, every layer takes every row.
        products: of the linear layers, see `fastest_products`; none for the layers as they come.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        sizes: Sequence[PackSize],
        *,
        skip_unread: bool,
        products: Products | None = None,
    ) -> None:
        self.name = name
        self._work: list[tuple[Callable[[Tensor], Tensor], Tensor]] = []
        inputs: dict[tuple[int, int], Tensor] = {}
        for size in sizes:
            for linear, last_mlp in trunk_linears(model):
                rows = size.read_rows if last_mlp and skip_unread else size.tokens
                key = rows, linear.in_features
                if key not in inputs:
                    weight = linear.weight
                    inputs[key] = torch.randn(key, device=weight.device, dtype=weight.dtype)
                self._work.append(((products or {}).get(linear, linear), inputs[key]))

    @torch.inference_mode()
    def run(self) -> Rewards:
        """Every product once; no rewards come of it."""
        for product, rows in self._work:
            product(rows)
        return {}


def fastest_products(model: Any) -> Products:
    """Each linear layer's product by the library that the engine would choose for the trunk.

    Args:
        model: a transformers model whose trunk has `layers`; it stays as it is, since transformers'
            own ways are timed on it, and another library's products are made on a copy.
    """
    copied = deepcopy(model)
    table = choose_products(copied, EngineOptions()).onednn
    if table is None:
        return {linear: linear for linear, _ in trunk_linears(model)}
    pairs = zip(trunk_linears(model), trunk_linears(copied), strict=True)
    return {own: table.product(copy) for (own, _), (copy, _) in pairs}


def trunk_linears(model: Any) -> list[tuple[nn.Linear, bool]]:
    """The trunk's linear layers, and whether each is of the last feed-forward half."""
    layers = model.base_model.layers
    return [
        (module, layer is layers[-1] and name.startswith("mlp"))
        for layer in layers
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    ]
