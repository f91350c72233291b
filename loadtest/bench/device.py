"""The engine on a GPU: a large random model made on the device, as a share of its matmul rate."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from loadtest.bench.rounds import Rounds, largest_error, run_rounds
from loadtest.bench.strategies import (
    GemmLimit,
    Ours,
    PackSize,
    Padded,
    Strategy,
    by_group,
    by_length,
    in_order,
    pack_sizes,
    trunk_linears,
)
from loadtest.errors import LoadTestError
from loadtest.models import scale_weights
from loadtest.settings import BenchSettings
from loadtest.workloads import log_normal_length
from rm_core.engine.forward.compiled import compiled_packed
from rm_core.engine.forward.packed import PackedForward
from rm_core.engine.packing.policy import Budget
from rm_core.types import Encoded, EncodedItem, ItemRewards

OURS = "ours"
MAX_PACK_ITEMS = 256

SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "toy": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
}


def bench_device(options: BenchSettings) -> Rounds:
    """Time our forward, padded SDPA and the bare GEMMs on random ids in bfloat16.

    Raises:
        LoadTestError: no such shape.
    """
    options = options.sized()
    if options.model not in SHAPES:
        raise LoadTestError(f"no shape named {options.model}; there are: {', '.join(SHAPES)}")
    texts, groups = random_texts(options)
    ids = [text.input_ids for text in texts]
    lengths = [len(row) for row in ids]
    padded_model = make_model(options)
    items = [EncodedItem({"safety": text}) for text in texts]
    packed = compiled_packed if options.compile_layers else PackedForward
    engine = _OneForward(packed(make_model(options)))
    ours = Ours(OURS, engine, items, groups, Budget(options.pack_tokens, MAX_PACK_ITEMS))
    packs = ours.packs()
    sizes = pack_sizes(packs, texts)
    model = {"safety": padded_model}
    strategies: list[Strategy] = [
        ours,
        Padded("one group a batch, SDPA", model, ids, by_group(groups)),
        Padded("sorted by length, SDPA", model, ids, by_length(lengths, options.responses)),
        GemmLimit("bare GEMMs of what is read", padded_model, sizes, skip_unread=True),
    ]
    truth = Padded("alone", model, ids, in_order(len(ids), 1)).run()
    sync = torch.cuda.synchronize if options.is_cuda else lambda: None
    rate = matmul_rate(options)
    # Nothing here remembers a text.
    timings = run_rounds(lambda _: (strategies, truth), rounds=options.rounds, sync=sync)
    seconds = sorted(timings[OURS].seconds)[len(timings[OURS].seconds) // 2]
    share = linear_flops(padded_model, sizes) / seconds / rate
    facts = {
        "device": _device_name(options.device),
        "shape": options.model,
        "our layers": "compiled" if options.compile_layers else "as they are",
        "tokens": sum(lengths),
        "after sharing": sum(size.tokens for size in sizes),
        "packs": len(packs),
        "matmul rate": f"{rate / 1e12:.1f} TFLOP/s",
        "our share of it": f"{share:.1%}",
        **_float32_errors(ours, padded_model, ids, options),
    }
    title = f"device, {options.groups} groups × {options.responses}, bfloat16"
    return Rounds(title, len(ids), OURS, timings, 0.25, facts)


def random_texts(options: BenchSettings) -> tuple[list[Encoded], list[int]]:
    """Random ids in groups that share their prompt, and each text's group."""
    rng = Random(options.seed)
    vocabulary = SHAPES[options.model]["vocab_size"]

    def draw(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, vocabulary) for _ in range(count))

    texts, groups = [], []
    for group in range(options.groups):
        prompt = draw(options.prompt_tokens)
        for _ in range(options.responses):
            ids = prompt + draw(log_normal_length(rng, options.shortest, options.longest))
            texts.append(Encoded(ids, len(ids) - 1))
            groups.append(group)
    return texts, groups


def make_model(options: BenchSettings) -> Any:
    """A random bfloat16 Llama made on the device; equal options make equal weights."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    positions = options.prompt_tokens + options.longest
    config = LlamaConfig(
        **SHAPES[options.model], max_position_embeddings=positions, num_labels=1, pad_token_id=0
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(options.device):
            model = LlamaForSequenceClassification(config)
    finally:
        torch.set_default_dtype(before)
    scale_weights(model, torch.Generator(options.device).manual_seed(options.seed))
    return model.eval()


def matmul_rate(options: BenchSettings) -> float:
    """Floating-point operations a second of a dense square bfloat16 product; the best of ten."""
    size = options.matmul_size
    left, right = (
        torch.randn(size, size, device=options.device, dtype=torch.bfloat16) for _ in range(2)
    )
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        torch.mm(left, right)
        if options.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def linear_flops(model: Any, sizes: Sequence[PackSize]) -> float:
    """Operations of the trunk's linear layers on the packs, of what a reward needs."""
    return sum(
        2.0 * linear.weight.numel() * (size.read_rows if last_mlp else size.tokens)
        for size in sizes
        for linear, last_mlp in trunk_linears(model)
    )


@dataclass(slots=True)
class _OneForward:
    """A forward without an engine around it: random weights have no checkpoint to load."""

    packed: PackedForward

    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        rows = self.packed.rewards([item.by_model["safety"] for item in items])
        return [{"safety": (row[0],)} for row in rows]


def _float32_errors(
    ours: Ours, model: Any, ids: Sequence[Sequence[int]], options: BenchSettings
) -> dict[str, str]:
    """Both bfloat16 ways' largest errors against float32; the padded model is converted for it."""
    count = min(options.check_texts, len(ids))
    if count == 0:
        return {}
    few = list(ids[:count])
    found = {"safety": ours.run()["safety"][:count]}
    alone = Padded("alone", {"safety": model}, few, in_order(count, 1))
    in_bfloat16 = alone.run()
    model.float()
    truth = alone.run()
    return {
        "our error against float32": f"{largest_error(found, truth):.1e}",
        "transformers' own bfloat16 error": f"{largest_error(in_bfloat16, truth):.1e}",
    }


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
