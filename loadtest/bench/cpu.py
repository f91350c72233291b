"""The engine on checkpoints: GRPO groups and independent texts, one reward model and two."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from loadtest import workloads
from loadtest.bench.rounds import Rounds, run_rounds
from loadtest.bench.strategies import (
    GemmLimit,
    Ours,
    Padded,
    Rewards,
    Strategy,
    by_group,
    by_length,
    in_order,
    pack_sizes,
)
from loadtest.errors import LoadTestError
from loadtest.models import BenchmarkModels, quiet_transformers
from loadtest.oracle import load_tokenizer, rewards_alone
from loadtest.settings import BenchSettings
from loadtest.workloads import Text
from rm_core.engine import DType, Engine, EngineOptions, load_engine
from rm_core.engine.packing.policy import Budget
from rm_core.types import Dialogue, EncodedItem

OURS = "ours"
OURS_FLOAT32 = "ours, float32"
OURS_DETERMINISTIC = "ours, deterministic"
OURS_TWO = "ours, one trunk"
OTHER = "helpfulness on another trunk"
SHAPES = ("grpo", "mixed")
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


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Texts in the order in which they arrive, and their ids as transformers' tokenizer cuts."""

    name: str
    texts: tuple[Text, ...]
    ids: tuple[tuple[int, ...], ...]

    @property
    def prompts(self) -> list[str]:
        return [text.prompt for text in self.texts]

    def items(self, engine: Engine) -> list[EncodedItem]:
        return [engine.encode(Dialogue(text.prompt, text.response)) for text in self.texts]


def bench_checkpoints(models: BenchmarkModels, options: BenchSettings) -> list[Rounds]:
    """Time every shape with one model, and with two if asked.

    Args:
        models: three checkpoints, the first two on one trunk.
        options: what to run. Another dtype than float32 is timed beside our own float32, the truth.

    Raises:
        LoadTestError: no such shape or dtype.
    """
    options = options.sized()
    shapes = SHAPES if options.shape == "all" else (options.shape,)
    if not set(shapes) <= set(SHAPES):
        raise LoadTestError(f"no shape named {options.shape}; there are: grpo, mixed, all")
    if options.dtype not in DTYPES:
        raise LoadTestError(f"no dtype {options.dtype}; there are: {', '.join(DTYPES)}")
    # transformers has no int8: its own ways stay float32 there.
    padded_dtype = "float32" if options.dtype == "int8" else options.dtype
    references = {
        name: load_reference(path, dtype=padded_dtype)
        for name, path in {
            "safety": models.safety,
            "helpfulness": models.helpfulness,
        }.items()
        if options.two or name == "safety"
    }
    directories = {"safety": models.safety}
    if options.two:
        directories |= {"helpfulness": models.helpfulness, OTHER: models.other_trunk}
    found = []
    for shape in shapes:
        arrival = _arrival(shape, models.safety, options)
        # Each text alone in float32, whatever precision is timed.
        wholes = [text.whole for text in arrival.texts]
        truth = {role: rewards_alone(path, wholes) for role, path in directories.items()}
        found.append(_one_model(arrival, truth, models, references, options))
        if options.two:
            found.append(_two_models(arrival, truth, models, references, options))
    return found


def load_reference(directory: Path, *, dtype: str) -> Any:
    """A checkpoint as transformers itself loads it, in eval mode."""
    import torch
    from transformers import AutoModelForSequenceClassification

    quiet_transformers()
    loaded = AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=getattr(torch, dtype), use_safetensors=True
    )
    return loaded.eval()


def _arrival(shape: str, directory: Path, options: BenchSettings) -> _Arrival:
    tokenizer = load_tokenizer(directory)
    if shape == "grpo":
        workload = workloads.grpo(
            tokenizer,
            groups=options.groups,
            responses=options.responses,
            prompt_tokens=options.prompt_tokens,
            seed=options.seed,
        )
    else:
        workload = workloads.mixed(tokenizer, texts=options.texts, seed=options.seed)
    texts = list(workload.texts)
    # Responses end in no order: a batch in order of arrival holds members of many groups.
    Random(options.seed).shuffle(texts)
    templated = isinstance(tokenizer.chat_template, str)
    ids = tuple(
        tuple(tokenizer(text.whole, add_special_tokens=not templated)["input_ids"])
        for text in texts
    )
    return _Arrival(shape, tuple(texts), ids)


def _padded_strategies(models: Mapping[str, Any], arrival: _Arrival) -> list[Strategy]:
    lengths = [len(ids) for ids in arrival.ids]
    count = len(lengths)
    strategies: list[Strategy] = [Padded("naive padded", models, arrival.ids, in_order(count))]
    if arrival.name == "grpo":
        strategies.append(
            Padded("one group a batch", models, arrival.ids, by_group(arrival.prompts))
        )
    strategies += [
        Padded("sorted by length", models, arrival.ids, by_length(lengths)),
        Padded("one at a time", models, arrival.ids, in_order(count, 1)),
    ]
    return strategies


def _one_model(
    arrival: _Arrival,
    truth: Rewards,
    models: BenchmarkModels,
    references: Mapping[str, Any],
    options: BenchSettings,
) -> Rounds:
    reference = {"safety": references["safety"]}
    engine = _engine_of_one(models.safety, dtype=options.dtype)
    ours = _ours(OURS, engine, arrival, options)
    packs = ours.packs()
    sizes = pack_sizes(packs, [item.by_model["safety"] for item in ours.items])
    strategies: list[Strategy] = [ours]
    if options.dtype != "float32":
        strategies.append(_ours(OURS_FLOAT32, _engine_of_one(models.safety), arrival, options))
    if options.deterministic:
        fixed = _engine_of_one(models.safety, deterministic=True)
        strategies.append(_ours(OURS_DETERMINISTIC, fixed, arrival, options))
    if options.baselines:
        strategies += _padded_strategies(reference, arrival)
    if options.baselines and options.dtype != "int8":  # float32's products are no limit of it
        strategies += [
            GemmLimit("bare GEMMs", reference["safety"], sizes, skip_unread=False),
            GemmLimit("bare GEMMs of what is read", reference["safety"], sizes, skip_unread=True),
        ]
    timings = run_rounds(strategies, truth, rounds=options.rounds)
    facts = {
        "texts": len(arrival.texts),
        "tokens": sum(map(len, arrival.ids)),
        "after sharing": sum(size.tokens for size in sizes),
        "packs": len(packs),
        "path": engine.describe()["safety"]["path"],
        "dtype": options.dtype,
        "spread of the rewards": f"{statistics.stdev(truth['safety']):.2f}",
    }
    title = f"{arrival.name}, one reward model"
    return Rounds(title, len(arrival.texts), OURS, timings, TOLERANCES[options.dtype], facts)


def _engine_of_one(safety: Path, *, dtype: str = "float32", deterministic: bool = False) -> Engine:
    return load_engine(
        {"safety": str(safety)},
        EngineOptions(dtype=DTYPES[dtype], deterministic=deterministic),
        device="cpu",
    )


def _ours(name: str, engine: Engine, arrival: _Arrival, options: BenchSettings) -> Ours:
    return Ours(
        name,
        engine,
        arrival.items(engine),
        arrival.prompts,
        Budget(options.pack_tokens, MAX_PACK_ITEMS),
    )


def _two_models(
    arrival: _Arrival,
    truth: Rewards,
    models: BenchmarkModels,
    references: Mapping[str, Any],
    options: BenchSettings,
) -> Rounds:
    pair = {"safety": references["safety"], "helpfulness": references["helpfulness"]}
    strategies: list[Strategy] = [
        _ours_of_two(OURS_TWO, models.safety, models.helpfulness, arrival, options),
        _OtherTrunk(
            _ours_of_two("ours, two trunks", models.safety, models.other_trunk, arrival, options)
        ),
        *(_padded_strategies(pair, arrival) if options.baselines else ()),
    ]
    timings = run_rounds(strategies, truth, rounds=options.rounds)
    title = f"{arrival.name}, two reward models (the padded strategies run two forwards)"
    tolerance = TOLERANCES[options.dtype]
    return Rounds(title, len(arrival.texts), OURS_TWO, timings, tolerance)


def _ours_of_two(
    name: str, safety: Path, helpfulness: Path, arrival: _Arrival, options: BenchSettings
) -> Ours:
    engine = load_engine(
        {"safety": str(safety), "helpfulness": str(helpfulness)},
        EngineOptions(dtype=DTYPES[options.dtype]),
        device="cpu",
    )
    return _ours(name, engine, arrival, options)


@dataclass(slots=True)
class _OtherTrunk:
    """A strategy whose helpfulness model has a trunk of its own, and so a truth of its own."""

    strategy: Ours

    @property
    def name(self) -> str:
        return self.strategy.name

    def run(self) -> Rewards:
        rewards = self.strategy.run()
        return {"safety": rewards["safety"], OTHER: rewards["helpfulness"]}
