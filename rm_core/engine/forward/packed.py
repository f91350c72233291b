"""The packed forward pass: all texts in one row, shared prefixes once, tree attention."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import ScalarHeads
from rm_core.engine.attention import ATTENTION_NAME, TreePlan
from rm_core.engine.attention.kept import Capture, KeptRun
from rm_core.engine.forward.base import NO_DEMANDS, is_out_of_memory, reads_of
from rm_core.engine.native import NativeLibrary, chosen_native
from rm_core.engine.options import AS_LOADED, EngineOptions
from rm_core.engine.packing.distinct import DistinctReads, distinct_reads
from rm_core.engine.packing.plan import Pack, plan_pack
from rm_core.engine.prefix_cache import Lookup, PrefixCache
from rm_core.engine.trunk.chunked import ChunkedTrunk, is_llama_shaped
from rm_core.engine.trunk.deterministic import fix_product_shapes, in_fixed_chunks
from rm_core.engine.trunk.last_layer import can_skip_rows, read_all_rows, read_rows_only
from rm_core.engine.trunk.products.choose import TORCHS_OWN, ProductChoice
from rm_core.engine.trunk.products.in_place import multiply_in_place
from rm_core.engine.trunk.products.mm import MmProduct
from rm_core.types import Encoded


class TrunkRun(Protocol):
    """How a trunk is run over a packed row."""

    @property
    def shares_exactly(self) -> bool:
        """Whether a text has the same bits in any company, with whatever it shares its prefixes."""
        ...

    def __call__(self, input_ids: Tensor, tree: TreePlan) -> Tensor:
        """Hidden states that the heads read: (tokens,) int64 → (reads, hidden)."""
        ...


class Heads(Protocol):
    """What reads rewards from the hidden states that a run gives."""

    def evaluate(self, hidden: Tensor) -> Tensor:
        """Raw rewards as a tensor: (reads, hidden) float32 → (reads, heads) float32."""
        ...

    def __call__(self, hidden: Tensor) -> list[list[float]]:
        """Raw rewards: (reads, hidden) of any float dtype → (reads, heads), float32 values."""
        ...


class TransformersTrunk:
    """A trunk as transformers runs it, with our attention.

    Args:
        model: a decoder whose attention can be replaced.
        skip_unread: whether the last layer's feed-forward half and the final norm run only where a
            head reads; without effect on models whose last layer's form is not known.
    """

    shares_exactly = False

    def __init__(self, model: Any, *, skip_unread: bool = True) -> None:
        self._trunk = model.base_model
        model.set_attn_implementation(ATTENTION_NAME)
        read_all_rows(self._trunk)
        self.skips_unread = skip_unread and read_rows_only(self._trunk)

    def __call__(self, input_ids: Tensor, tree: TreePlan) -> Tensor:
        """Hidden states that the heads read: (tokens,) int64 → (reads, hidden)."""
        hidden: Tensor = self._trunk(
            input_ids=input_ids[None],
            position_ids=tree.position_ids[None],
            use_cache=False,
            tree=tree,
        ).last_hidden_state[0]
        return hidden if self.skips_unread else hidden[tree.read_rows]


class PackedForward:
    """The forward pass of a trunk over packed rows, and of the heads that read it.

    Args:
        model: a decoder for sequence classification with a linear `score` head.
        run: how its trunk is run; None for transformers' own way.
        heads: further heads on the same trunk, read from the same hidden states; or all that read
            what the run gives, where that is more than one trunk's states.
        reason: why this way was taken.
        attention: what computes it, and why.
        share: whether common prefixes are computed once.
        deterministic: whether a text gets the same bits in any company, on one machine; costs
            some filling, and shared prefixes where the trunk's run can't share them exactly.
        native: computes attention where it can; None for torch alone.
    """

    path = "packed"
    reads_positions = True
    demands = NO_DEMANDS
    prefix_cache: PrefixCache | None = None
    """What is kept from pack to pack, once the forward has proved that it can; see `keeping`."""
    prefix_cache_reason = "not asked for"
    products = TORCHS_OWN

    def __init__(
        self,
        model: Any,
        *,
        run: TrunkRun | None = None,
        heads: Sequence[Linear] | Heads = (),
        reason: str = "",
        attention: str = "torch",
        share: bool = True,
        deterministic: bool = False,
        native: NativeLibrary | None = None,
    ) -> None:
        self.reason = reason
        self.attention = attention
        self._native = native
        self._device = model.device
        self._heads = ScalarHeads([model.score, *heads]) if isinstance(heads, Sequence) else heads
        self._deterministic = deterministic
        self._run = TransformersTrunk(model) if run is None else run
        self.shares_exactly = self._run.shares_exactly
        self.shares_prefixes = share and (self.shares_exactly or not deterministic)
        if deterministic and not self.shares_exactly:
            fix_product_shapes(model.base_model)
        self._ahead: _PlannedTexts | None = None

    def plan_ahead(self, texts: Sequence[Encoded]) -> None:
        """Plan the pack of the next forward of exactly these texts; from any thread."""
        self._ahead = _PlannedTexts(tuple(texts), self._plan(texts, list(map(reads_of, texts))))

    def cached_tokens(self, text: Encoded) -> int:
        """How many leading tokens a forward now would not compute; from any thread."""
        if self.prefix_cache is None:
            return 0
        return self.prefix_cache.cached_tokens(text.input_ids, reads_of(text), text.cache_scope)

    def _plan(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> "_Plan":
        once = distinct_reads(texts, reads)
        looked_up = None
        if self.prefix_cache is not None:
            looked_up = self.prefix_cache.look_up(
                [text.input_ids for text in once.texts], [text.cache_scope for text in once.texts]
            )
        # The pack's order: every text's first read, then what else is read of the first text, …
        order = once.spread(reading_order([len(own) for own in once.reads]))
        return _Plan(once, self._pack(once, looked_up), order, looked_up)

    def _pack(self, once: DistinctReads, looked_up: Lookup | None = None) -> Pack:
        """Distinct texts in one row, behind what the cache holds of them."""
        return plan_pack(
            [text.input_ids for text in once.texts],
            [own[0] for own in once.reads],
            extra_positions=[own[1:] for own in once.reads],
            share=self.shares_prefixes,
            cached=None if looked_up is None else looked_up.ends,
        )

    @torch.inference_mode()
    def states(self, texts: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> Tensor:
        """What a head reads at positions of one's choice; see `Forward.states`."""
        plan = self._plan(texts, reads)
        run = self._run_plan(plan)
        return run[torch.tensor(plan.order, device=run.device)]

    @torch.inference_mode()
    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """Raw rewards, (total reads, heads); see `Forward.rewards`."""
        ahead = self._ahead
        if ahead is not None and ahead.is_of(texts):
            self._ahead = None
            plan = ahead.plan
        else:
            plan = self._plan(texts, list(map(reads_of, texts)))
        read = self._run_plan(plan)
        if self._deterministic:
            rewards = in_fixed_chunks(self._heads.evaluate, read.float()).tolist()
        else:
            rewards = self._heads(read)
        return [rewards[index] for index in plan.order]

    @torch.inference_mode()
    def capture(self, text: Encoded, capture: Capture) -> None:
        """Run a text alone, and hand over the keys and values that its layers compute."""
        self._run_pack(plan_pack([text.input_ids], [text.read_position]), capture=capture)

    def _run_plan(self, plan: "_Plan") -> Tensor:
        """Hidden states, (reads, hidden), in the order of `Pack.read_rows`."""
        cache = self.prefix_cache
        if cache is None or plan.looked_up is None:
            return self._run_pack(plan.pack)
        try:
            anew = partial(self._pack, plan.once)
            with cache.reading(plan.looked_up, plan.pack, anew) as reading:
                return self._run_pack(reading.pack, kept=reading.kept, capture=reading.capture)
        except Exception as error:
            # What is kept takes memory that a pack may need more.
            if not (is_out_of_memory(error) and cache.give_way()):
                raise
        return self._run_pack(self._pack(plan.once))

    def _run_pack(
        self,
        pack: Pack,
        *,
        kept: Sequence[KeptRun | None] = (),
        capture: Capture | None = None,
    ) -> Tensor:
        tree = TreePlan.of(
            pack,
            self._device,
            kept=kept,
            capture=capture,
            by_path=self.shares_exactly,
            native=self._native,
        )
        return self._run(torch.from_numpy(pack.input_ids).to(self._device), tree)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A pack of distinct texts.

    Attributes:
        once: the texts.
        pack: each read of each text once.
        order: of each read that was asked for, text by text, its index among the pack's.
        looked_up: what the cache held of the texts; None where nothing is kept.
    """

    once: DistinctReads
    pack: Pack
    order: list[int]
    looked_up: Lookup | None


@dataclass(frozen=True, slots=True)
class _PlannedTexts:
    """A pack planned ahead, and for what."""

    texts: tuple[Encoded, ...]
    plan: _Plan

    def is_of(self, texts: Sequence[Encoded]) -> bool:
        # Equal is enough, as a scope makes new ones of the same; the same are equal at a glance.
        return len(texts) == len(self.texts) and all(
            one is other or one == other for one, other in zip(texts, self.texts, strict=True)
        )


def reading_order(counts: Sequence[int]) -> list[int]:
    """Where each read stands in a pack's reads, text by text.

    Args:
        counts: reads of each text, at least one each.
    """
    order: list[int] = []
    further = len(counts)
    for text, count in enumerate(counts):
        order += [text, *range(further, further + count - 1)]
        further += count - 1
    return order


@dataclass(frozen=True, slots=True)
class PackedWay:
    """One of the ways to run a trunk over packed rows.

    Attributes:
        name: what is special about it, after "not", as in "not chunk by chunk".
        make: gives the forward; the model is then set up for it.
        products: what multiplies.
    """

    name: str
    make: Callable[[], PackedForward]
    products: ProductChoice = TORCHS_OWN


def packed_ways(
    model: Any,
    *,
    heads: Sequence[Linear] = (),
    options: EngineOptions = AS_LOADED,
    products: ProductChoice = TORCHS_OWN,
) -> list[PackedWay]:
    """The packed ways of a decoder on its device, the fastest first.

    Each does less of its own than the one before: the last runs every layer whole, as transformers
    does, on whatever its head may read, by torch's own products.

    Args:
        model: a decoder for sequence classification whose attention can be replaced.
        heads: further heads on its trunk.
        options: what was asked for.
        products: what multiplies.
    """
    return [
        way
        for choice in products.tries()
        for way in _ways_by(choice, model, heads=heads, options=options)
    ]


@dataclass(frozen=True, slots=True)
class _Attention:
    """What computes attention, and why; see `PackedForward`."""

    native: NativeLibrary | None
    told: str


def _ways_by(
    products: ProductChoice, model: Any, *, heads: Sequence[Linear], options: EngineOptions
) -> list[PackedWay]:
    """The ways with one choice of products."""
    onednn = products.onednn
    native, told = chosen_native(options.attention, model)
    attends = _Attention(native, told)
    # Layers by themselves attend to each text whole, and get fixed shapes of torch's products.
    in_layers = _Attention(None, "torch, as deterministic") if options.deterministic else attends

    def layers(*, skip_unread: bool) -> PackedForward:
        if onednn is not None:
            multiply_in_place(model.base_model, onednn.product)
        return PackedForward(
            model,
            run=TransformersTrunk(model, skip_unread=skip_unread),
            heads=heads,
            reason="decoder with replaceable attention",
            attention=in_layers.told,
            deterministic=options.deterministic,
            native=in_layers.native,
        )

    def chunks(using: _Attention = attends) -> PackedForward:
        return PackedForward(
            model,
            run=ChunkedTrunk(
                model.base_model,
                rows=None if onednn is None else onednn.chunk_rows,
                product=MmProduct if onednn is None else onednn.product,
                deterministic=options.deterministic,
                native=using.native,
            ),
            heads=heads,
            reason="Llama-shaped decoder on the CPU, run chunk by chunk",
            attention=using.told,
            deterministic=options.deterministic,
            native=using.native,
        )

    by = "" if onednn is None else "by oneDNN "

    def way(name: str, make: Callable[[], PackedForward]) -> PackedWay:
        return PackedWay(f"{by}{name}", make, products)

    ways = [way("with every row of the last layer", partial(layers, skip_unread=False))]
    if can_skip_rows(model.base_model):
        ways.insert(0, way("with the last layer cut short", partial(layers, skip_unread=True)))
    if onednn is not None and options.deterministic:
        ways = []
    if model.device.type == "cpu" and is_llama_shaped(model.base_model):
        if native is not None and options.deterministic:
            by_torch = _Attention(None, "torch, as native gave other rewards or other bits")
            ways.insert(0, way("chunk by chunk, with torch's attention", partial(chunks, by_torch)))
        ways.insert(0, way("chunk by chunk", chunks))
    return ways


def fastest_packed(
    model: Any, *, heads: Sequence[Linear] = (), options: EngineOptions = AS_LOADED
) -> PackedForward:
    """The packed way that suits the model and its device."""
    return packed_ways(model, heads=heads, options=options)[0].make()
