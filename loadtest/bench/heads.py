"""Many rewards from one forward: K heads on one trunk beside one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.bench.arrivals import arrival
from loadtest.bench.rounds import Rounds, run_rounds
from loadtest.bench.strategies import Ours, Rewards, Strategy
from loadtest.models import build_heads, quiet_transformers
from loadtest.settings import BenchSettings
from loadtest.workloads import Text, Tokenizer
from rm_core.engine import Engine, EngineOptions, load_engine
from rm_core.engine.packing.policy import Budget

MAX_PACK_ITEMS = 256
ONE = "one head"
TOLERANCE = 1e-4


def bench_heads(
    trunk: Path, options: BenchSettings, tokenizer: Tokenizer, directory: Path
) -> list[Rounds]:
    """Time one model, and `options.heads` models with heads of their own on the same trunk.

    Args:
        trunk: the checkpoint whose trunk they have.
        options: sizes and rounds; always float32.
        tokenizer: of the trunk.
        directory: gets the checkpoints.
    """
    checkpoints = build_heads(directory / "heads" / options.model, trunk, options.heads)
    if options.prepare:
        return []
    names = [path.name for path in checkpoints]
    many = f"{len(names)} heads on one trunk"
    engines = {ONE: _engine(checkpoints[:1]), many: _engine(checkpoints)}
    reference = many_headed(checkpoints)
    texts = 0

    def make(number: int) -> tuple[list[Strategy], Rewards]:
        nonlocal texts
        arrived = arrival("heads", tokenizer, options, number=number)
        texts = len(arrived.texts)
        budget = Budget(options.pack_tokens, MAX_PACK_ITEMS)
        strategies: list[Strategy] = [
            Ours(name, engine, arrived.items(engine), arrived.prompts, budget)
            for name, engine in engines.items()
        ]
        return strategies, rewards_alone_by_head(reference, tokenizer, arrived.texts, names)

    timings = run_rounds(make, rounds=options.rounds)
    title = f"heads, {len(names)} reward models on one trunk"
    return [Rounds(title, texts, ONE, timings, TOLERANCE)]


def _engine(checkpoints: Sequence[Path]) -> Engine:
    named = {path.name: str(path) for path in checkpoints}
    return load_engine(named, EngineOptions(dtype="float32"), device="cpu")


def many_headed(checkpoints: Sequence[Path]) -> Any:
    """A classifier of transformers with a label for each checkpoint's head, on their trunk."""
    import torch
    from transformers import AutoModelForSequenceClassification

    quiet_transformers()
    loaded = [
        AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32)
        for path in checkpoints
    ]
    model = loaded[0].eval()
    with torch.no_grad():
        model.score.weight = torch.nn.Parameter(torch.cat([one.score.weight for one in loaded]))
    return model


def rewards_alone_by_head(
    model: Any, tokenizer: Tokenizer, texts: Sequence[Text], names: Sequence[str]
) -> Rewards:
    """Rewards of every head, each text in a forward of its own."""
    import torch

    rewards: Rewards = {name: [] for name in names}
    templated = isinstance(tokenizer.chat_template, str)
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer(text.whole, add_special_tokens=not templated)["input_ids"]
            logits = model(input_ids=torch.tensor([ids])).logits[0].tolist()
            for name, value in zip(names, logits, strict=True):
                rewards[name].append(value)
    return rewards
