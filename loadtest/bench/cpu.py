"""The engine on checkpoints: every shape with one reward model, and groups and texts with two."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from loadtest.bench.arrivals import AT_ONCE, Arrival, arrival, shapes_named
from loadtest.bench.attention_limit import AttentionLimit, planned
from loadtest.bench.heads import bench_heads
from loadtest.bench.rounds import Rounds, run_rounds
from loadtest.bench.strategies import (
    GemmLimit,
    Ours,
    PackSize,
    Padded,
    Products,
    Rewards,
    Strategy,
    by_group,
    by_length,
    fastest_products,
    in_order,
    in_waves,
    pack_sizes,
)
from loadtest.errors import LoadTestError
from loadtest.models import BenchmarkModels, quiet_transformers
from loadtest.oracle import Oracle, load_tokenizer
from loadtest.settings import CACHE_NAME, BenchSettings
from loadtest.workloads import Tokenizer
from rm_core.engine import DType, Engine, EngineOptions, load_engine
from rm_core.engine.packing.plan import Pack
from rm_core.engine.packing.policy import Budget

OURS = "ours"
OURS_FLOAT32 = "ours, float32"
OURS_DETERMINISTIC = "ours, deterministic"
OURS_TWO = "ours, one trunk"
OTHER = "helpfulness on another trunk"
OURS_STAGGERED = "ours, one text after the other"
BURST = "in one burst"
OURS_BURST = "ours, in one burst"
WITH_TWO = ("grpo", "mixed")
"""Shapes that two models are timed on as well."""
MAX_PACK_ITEMS = 256
"""Of a pack, as in the service."""
DTYPES: dict[str, DType] = {
    "float32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "int8": "int8",
}
TOLERANCES = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.2, "int8": 0.5}
"""Largest error of a right reward of a random model, whose rewards spread over a few units."""


def bench_checkpoints(
    models: BenchmarkModels, options: BenchSettings, *, directory: Path
) -> list[Rounds]:
    """Time every shape with one model, and with two if asked.

    Args:
        models: three checkpoints, the first two on one trunk.
        options: what to run. Another dtype than float32 is timed beside our own float32, the truth.
        directory: keeps true rewards and further checkpoints.

    Raises:
        LoadTestError: no such shape or dtype.
    """
    options = options.sized()
    shapes = shapes_named(options.shape)
    if options.dtype not in DTYPES:
        raise LoadTestError(f"no dtype {options.dtype}; there are: {', '.join(DTYPES)}")
    case = _Case(models, options, load_tokenizer(models.safety), directory / CACHE_NAME)
    found: list[Rounds] = []
    for shape in shapes:
        if shape == "heads":
            found += bench_heads(models.safety, options, case.tokenizer, directory)
        elif shape == "staggered":
            found += _staggered(case)
        else:
            found += _one_model(case, shape)
        if options.two and shape in WITH_TWO:
            found += _two_models(case, shape)
    return found


@dataclass(slots=True)
class _Case:
    """What all tables have in common.

    Attributes:
        models: the checkpoints.
        options: what to run.
        tokenizer: of the models.
        cache: of true rewards.
    """

    models: BenchmarkModels
    options: BenchSettings
    tokenizer: Tokenizer
    cache: Path
    _references: dict[Path, Any] = field(default_factory=dict)

    def arrival(self, shape: str, number: int, *, words: int = 0) -> Arrival:
        return arrival(shape, self.tokenizer, self.options, number=number, words=words)

    def truth(self, arrived: Arrival, checkpoints: Mapping[str, Path]) -> Rewards:
        """Each text alone in float32, whatever precision is timed."""
        oracle = Oracle(checkpoints, self.cache)
        oracle.learn(arrived.texts)
        return {role: [oracle.reward(role, text) for text in arrived.texts] for role in checkpoints}

    def prepared(self, shape: str, checkpoints: Mapping[str, Path], *, words: int = 0) -> bool:
        """Whether true rewards are all that was asked for; they are kept by then."""
        for number in range(self.options.rounds + 1) if self.options.prepare else ():
            self.truth(self.arrival(shape, number, words=words), checkpoints)
        return self.options.prepare

    def reference(self, checkpoint: Path) -> Any:
        """The checkpoint as transformers runs it, loaded once."""
        if checkpoint not in self._references:
            # transformers has no int8: its own ways stay float32 there.
            dtype = "float32" if self.options.dtype == "int8" else self.options.dtype
            self._references[checkpoint] = load_reference(checkpoint, dtype=dtype)
        return self._references[checkpoint]

    def ours(self, name: str, engine: Engine, arrived: Arrival) -> Ours:
        budget = Budget(self.options.pack_tokens, MAX_PACK_ITEMS)
        items = arrived.items(engine)
        return Ours(name, engine, items, arrived.prompts, budget, arrived.waves)


def load_reference(directory: Path, *, dtype: str) -> Any:
    """A checkpoint as transformers itself loads it, in eval mode."""
    import torch
    from transformers import AutoModelForSequenceClassification

    quiet_transformers()
    loaded = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=getattr(torch, dtype), use_safetensors=True
    )
    return loaded.eval()


def _padded_strategies(models: Mapping[str, Any], arrived: Arrival) -> list[Strategy]:
    """The padded ways, each with the texts that are there together."""
    prompts, lengths = arrived.prompts, list(map(len, arrived.ids))
    ways = {
        "naive padded": lambda wave: in_order(len(wave)),
        "one group a batch": lambda wave: by_group([prompts[index] for index in wave]),
        "sorted by length": lambda wave: by_length([lengths[index] for index in wave]),
        "one at a time": lambda wave: in_order(len(wave), 1),
    }
    if arrived.name != "grpo":
        del ways["one group a batch"]
    return [
        Padded(name, models, arrived.ids, in_waves(arrived.waves, batches_of))
        for name, batches_of in ways.items()
    ]


def _limits(
    model: Any, sizes: Sequence[PackSize], plans: Sequence[Pack], products: Products
) -> list[Strategy]:
    """What no engine on these packs is faster than, by the fastest library's products."""
    every = GemmLimit("bare GEMMs", model, sizes, skip_unread=False, products=products)
    read = GemmLimit(
        "bare GEMMs of what is read", model, sizes, skip_unread=True, products=products
    )
    return [every, read, AttentionLimit("bare GEMMs and SDPA of what is read", read, model, plans)]


def _one_model(case: _Case, shape: str) -> list[Rounds]:
    options, safety = case.options, case.models.safety
    if case.prepared(shape, {"safety": safety}):
        return []
    engines = {OURS: _engine({"safety": safety}, dtype=options.dtype)}
    if options.dtype != "float32":
        engines[OURS_FLOAT32] = _engine({"safety": safety})
    if options.deterministic:
        engines[OURS_DETERMINISTIC] = _engine({"safety": safety}, deterministic=True)
    facts: dict[str, Any] = {}
    products = lru_cache(fastest_products)  # timed once, not in every round

    def make(number: int) -> tuple[list[Strategy], Rewards]:
        arrived = case.arrival(shape, number)
        truth = case.truth(arrived, {"safety": safety})
        ours = [case.ours(name, engine, arrived) for name, engine in engines.items()]
        packs = ours[0].packs()
        sizes = pack_sizes(packs, [item.by_model["safety"] for item in ours[0].items])
        strategies: list[Strategy] = [*ours]
        if options.baselines:
            strategies += _padded_strategies({"safety": case.reference(safety)}, arrived)
        # float32's products are no limit of int8, nor every token's of what is kept from before.
        if options.baselines and options.dtype != "int8" and shape in AT_ONCE:
            model = case.reference(safety)
            strategies += _limits(
                model,
                sizes,
                planned(packs, [item.by_model["safety"] for item in ours[0].items]),
                products(model),
            )
        facts.update(
            {
                "texts": len(arrived.texts),
                "tokens": sum(map(len, arrived.ids)),
                "after sharing within packs": sum(size.tokens for size in sizes),
                "packs": len(packs),
                "spread of the rewards": f"{statistics.stdev(truth['safety']):.2f}",
            }
        )
        return strategies, truth

    timings = run_rounds(make, rounds=options.rounds)
    facts |= {
        "path": engines[OURS].describe()["safety"]["path"],
        "dtype": options.dtype,
        "found in the prefix cache": _found_in_cache(engines[OURS]),
    }
    title = f"{shape}, one reward model"
    tolerance = TOLERANCES[options.dtype]
    return [Rounds(title, facts["texts"], OURS, timings, tolerance, facts)]


def _found_in_cache(engine: Engine) -> str:
    """The share of all rounds' tokens whose keys and values were kept from earlier packs."""
    stats = engine.cache_stats().prefixes
    share = stats.hit_tokens / stats.lookup_tokens if stats.lookup_tokens else 0.0
    return f"{share:.0%}"


def _staggered(case: _Case) -> list[Rounds]:
    """One text after the other beside a burst of equal lengths."""
    safety = {"safety": case.models.safety}
    if case.prepared("staggered", safety) and case.prepared("staggered", safety, words=1):
        return []
    engine = _engine(safety, dtype=case.options.dtype)
    texts = 0

    def make(number: int) -> tuple[list[Strategy], Rewards]:
        nonlocal texts
        apart, burst = (case.arrival("staggered", number, words=words) for words in (0, 1))
        texts = len(apart.texts)
        at_once = case.ours(OURS_BURST, engine, burst)
        at_once.waves = ()
        truth = {
            "safety": case.truth(apart, safety)["safety"],
            BURST: case.truth(burst, safety)["safety"],
        }
        return [
            _OfRole(at_once, {"safety": BURST}),
            case.ours(OURS_STAGGERED, engine, apart),
        ], truth

    timings = run_rounds(make, rounds=case.options.rounds)
    facts = {"texts": texts, "found in the prefix cache": _found_in_cache(engine)}
    tolerance = TOLERANCES[case.options.dtype]
    title = "staggered, one reward model"
    return [Rounds(title, texts, OURS_BURST, timings, tolerance, facts)]


def _engine(
    models: Mapping[str, Path], *, dtype: str = "float32", deterministic: bool = False
) -> Engine:
    return load_engine(
        {role: str(path) for role, path in models.items()},
        EngineOptions(dtype=DTYPES[dtype], deterministic=deterministic),
        device="cpu",
    )


def _two_models(case: _Case, shape: str) -> list[Rounds]:
    models, options = case.models, case.options
    pair = {"safety": models.safety, "helpfulness": models.helpfulness}
    checkpoints = {**pair, OTHER: models.other_trunk}
    if case.prepared(shape, checkpoints):
        return []
    together = _engine(pair, dtype=options.dtype)
    apart = _engine({**pair, "helpfulness": models.other_trunk}, dtype=options.dtype)
    texts = 0

    def make(number: int) -> tuple[list[Strategy], Rewards]:
        nonlocal texts
        arrived = case.arrival(shape, number)
        texts = len(arrived.texts)
        strategies: list[Strategy] = [
            case.ours(OURS_TWO, together, arrived),
            _OfRole(case.ours("ours, two trunks", apart, arrived), {"helpfulness": OTHER}),
        ]
        if options.baselines:
            references = {role: case.reference(path) for role, path in pair.items()}
            strategies += _padded_strategies(references, arrived)
        return strategies, case.truth(arrived, checkpoints)

    timings = run_rounds(make, rounds=options.rounds)
    title = f"{shape}, two reward models (the padded strategies run two forwards)"
    return [Rounds(title, texts, OURS_TWO, timings, TOLERANCES[options.dtype])]


@dataclass(slots=True)
class _OfRole:
    """A strategy some of whose rewards have a truth of their own, under another role."""

    strategy: Ours
    roles: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.strategy.name

    def run(self) -> Rewards:
        rewards = self.strategy.run()
        return {self.roles.get(role, role): values for role, values in rewards.items()}
