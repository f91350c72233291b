"""Convert a foreign checkpoint, and hold what came of it against the source."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rewardd.checkpoints.convert.run import Conversion, ConvertOptions, convert
from rm_core.engine.engine import Engine
from rm_core.types import Dialogue
from tests.rewardd.checkpoints.convert.foreign import Foreign
from tests.rewards import own_rewards

DIALOGUES = [
    Dialogue("How are you?", "Fine."),
    Dialogue("How are you?", "Go away, I am busy with my own things today."),
    Dialogue("Ä", "ö\nü"),
]


def converted(source: Foreign, output: Path, **options: Any) -> Conversion:
    settings = {"role": "helpfulness", "allow_pickle": True, **options}
    return convert(str(source.directory), output, ConvertOptions(**settings))


def ids_and_rewards(engine: Engine) -> list[tuple[tuple[int, ...], float]]:
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]
    return [
        (item.by_model["helpfulness"].input_ids, rewards["helpfulness"])
        for item, rewards in zip(items, own_rewards(engine, items), strict=True)
    ]


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for path in sorted(directory.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
