"""In deterministic mode the same text gets the same bits in any company."""

import os
import random
import subprocess
import sys

import pytest
import torch

from rm_core.engine.forward.packed import PackedForward, fastest_packed
from rm_core.engine.options import EngineOptions
from rm_core.engine.trunk.deterministic import ROWS, fix_product_shapes, in_fixed_chunks
from rm_core.types import Encoded, ReadPosition
from tests.models import make_model


def random_text(rng: random.Random, length: int) -> Encoded:
    return Encoded(tuple(rng.randrange(250) for _ in range(length)), length - 1)


def test_the_ordinary_way_does_differ_in_its_last_bits() -> None:
    """The negative control: a relative in the batch changes how a text's attention is merged."""
    rng = random.Random(1)
    forward = PackedForward(make_model("llama"), reason="")
    needles = [random_text(rng, 130) for _ in range(10)]
    relatives = [Encoded((*needle.input_ids[:70], 7, 8), 71) for needle in needles]
    alone = [forward.rewards([needle])[0] for needle in needles]

    together = forward.rewards([*needles, *relatives])[: len(needles)]

    assert together != alone
    assert torch.allclose(torch.tensor(together), torch.tensor(alone), atol=1e-5)


SHARING = {
    "llama": {"hidden_size": 66, "num_attention_heads": 3, "num_key_value_heads": 1},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": 130},
}


def company(seed: int) -> list[Encoded]:
    """Up to 64 texts: groups that branch at odd places, their prompts, and texts of their own."""
    rng = random.Random(seed)
    texts: list[Encoded] = []
    for length in (9, 61, 250, 257):
        prompt = random_text(rng, length)
        texts.append(prompt)
        for _ in range(4):
            ids = (*prompt.input_ids, *random_text(rng, rng.randrange(1, 200)).input_ids)
            extra = (ReadPosition(rng.randrange(len(ids)), 0, 1, "a"),)
            texts.append(Encoded(ids, len(ids) - 1, extra_positions=extra))
    texts += [random_text(rng, rng.randrange(1, 300)) for _ in range(12)]
    return texts


def rows_of(forward: PackedForward, texts: list[Encoded]) -> list[list[list[float]]]:
    """Of each text its rewards, (reads, heads)."""
    found = iter(forward.rewards(texts))
    return [[next(found) for _ in range(1 + len(text.extra_positions))] for text in texts]


@pytest.mark.parametrize("architecture", SHARING)
def test_shared_prefixes_leave_a_text_its_bits(architecture: str) -> None:
    model = make_model(architecture, seed=3, **SHARING[architecture])
    with torch.no_grad():
        for module in model.base_model.modules():
            if isinstance(module, torch.nn.Linear) and module.bias is not None:
                module.bias.normal_()
    ordinary = PackedForward(model, share=False)
    texts, rng = company(4), random.Random(5)
    expected = torch.tensor(ordinary.rewards(texts))
    head = torch.nn.Linear(model.score.in_features, 1)
    heads = [head]
    forward = fastest_packed(model, heads=heads, options=EngineOptions(deterministic=True))
    assert forward.shares_prefixes

    alone = [rows_of(forward, [text])[0] for text in texts]

    assert torch.allclose(torch.tensor(forward.rewards(texts))[:, :1], expected, atol=1e-5)
    for count in (2, 5, 17, 64):
        some = rng.choices(range(len(texts)), k=count)
        assert rows_of(forward, [texts[i] for i in some]) == [alone[i] for i in some]


BITS_BY_THREADS = """
import torch
from tests.models import make_model
from tests.rm_core.engine.trunk.test_deterministic import company
from rm_core.engine.forward.packed import fastest_packed
from rm_core.engine.options import EngineOptions
for threads in (1, 2, 3):
    torch.set_num_threads(threads)
    model = make_model("llama", hidden_size=192, intermediate_size=704, num_attention_heads=3,
                       num_key_value_heads=3)
    forward = fastest_packed(model, options=EngineOptions(deterministic=True))
    texts = [text.__class__(text.input_ids, text.read_position) for text in company(6)]
    together = forward.rewards(texts)
    print(all(forward.rewards([text]) == [row] for text, row in zip(texts[::5], together[::5])))
"""


def test_any_number_of_threads_leaves_a_text_its_bits() -> None:
    """Threads cut element-wise work anywhere; 192 · 704 elements are enough to be cut."""
    found = subprocess.run(
        [sys.executable, "-c", BITS_BY_THREADS], capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == ["True"] * 3


def test_deterministic_rewards_are_the_models_own() -> None:
    rng = random.Random(2)
    texts = [random_text(rng, n) for n in (3, 50, 129, 300)]
    expected = torch.tensor(PackedForward(make_model("gpt2"), reason="").rewards(texts))

    forward = PackedForward(make_model("gpt2"), reason="", deterministic=True)

    assert torch.allclose(torch.tensor(forward.rewards(texts)), expected, atol=1e-5)


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS])
def test_every_product_has_the_same_shape(rows: int) -> None:
    shapes: list[tuple[int, ...]] = []

    def product(chunk: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(chunk.shape))
        return chunk * 2

    found = in_fixed_chunks(product, torch.ones(1, rows, 5))

    assert set(shapes) == {(ROWS, 5)}
    assert found.shape == (1, rows, 5)
    assert bool((found == 2).all())


ROW_BY_PLACE = """
import torch
from torch.nn.functional import linear
from rm_core.engine.trunk.deterministic import ROWS
torch.manual_seed(0)
for features, out in [(32, 2), (32, 16), (64, 32), (100, 37), (768, 512)]:
    chunk = torch.randn(features).expand(ROWS, features).contiguous()
    rows = linear(chunk, torch.randn(out, features))
    print(bool((rows == rows[0]).all()))
"""


@pytest.mark.parametrize("instructions", ["AVX512", "AVX2", "COMPATIBLE"])
def test_a_row_has_the_same_bits_wherever_it_stands_on_processors_of_other_kinds(
    instructions: str,
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ROW_BY_PLACE],
        env={**os.environ, "MKL_CBWR": instructions},
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.split() == ["True"] * 5


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_all_linear_layers_are_changed(architecture: str) -> None:
    trunk = make_model(architecture).base_model
    per_layer = {"llama": 7, "gpt2": 4}[architecture]

    assert fix_product_shapes(trunk) == 2 * per_layer
