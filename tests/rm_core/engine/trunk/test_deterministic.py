"""In deterministic mode the same text gets the same bits in any company."""

import os
import random
import subprocess
import sys

import pytest
import torch

from rm_core.engine.forward.packed import PackedForward
from rm_core.engine.trunk.deterministic import ROWS, fix_product_shapes, in_fixed_chunks
from rm_core.types import Encoded
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
