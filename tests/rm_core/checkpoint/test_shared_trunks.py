"""Checkpoints with equal trunks: one is loaded, the others bring their heads; equal to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rm_core.checkpoint import classifier
from rm_core.checkpoint.shared_trunks import SharedTrunks, TrunkFiles
from rm_core.checkpoint.weights import raw_blocks, read_tensor, stored_tensors
from rm_core.engine import load_engine
from rm_core.types import Dialogue
from tests.models import make_model, make_tokenizer
from tests.rewards import own_rewards

ITEMS = [Dialogue("a shared prompt ", "answer " * n) for n in range(1, 4)]


def save(directory: Path, *, head: int, trunk: int = 1, architecture: str = "llama") -> str:
    model = make_model(architecture, seed=trunk)
    torch.manual_seed(100 + head)
    for name, parameter in model.named_parameters():
        if not name.startswith(f"{model.base_model_prefix}."):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return str(directory)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the checkpoints that transformers loaded."""
    names: list[str] = []
    real = classifier.from_pretrained

    def counted(name: str, *args: Any, **options: Any) -> Any:
        names.append(name)
        return real(name, *args, **options)

    monkeypatch.setattr(classifier, "from_pretrained", counted)
    return names


def test_eight_checkpoints_load_one_trunk_and_score_as_each_alone(
    tmp_path: Path, loads: list[str]
) -> None:
    models = {f"rm{head}": save(tmp_path / str(head), head=head) for head in range(8)}
    alone = {name: load_engine({name: path}) for name, path in models.items()}
    loads.clear()

    engine = load_engine(models)

    assert loads == [models["rm0"]]
    found = own_rewards(engine, [engine.encode(dialogue) for dialogue in ITEMS])
    for name, own in alone.items():
        wanted = own_rewards(own, [own.encode(dialogue) for dialogue in ITEMS])
        assert [rewards[name] for rewards in found] == pytest.approx(
            [rewards[name] for rewards in wanted], abs=1e-5
        )
    assert len({round(value, 3) for value in found[0].values()}) == 8, "heads too alike"
    assert len(engine.describe()["rm3"]["shares_trunk_with"]) == 7
    trunks = {id(model.model.base_model) for model in engine._models.values()}
    assert len(trunks) == 1


def test_one_weight_or_one_setting_apart_is_another_trunk(tmp_path: Path, loads: list[str]) -> None:
    names = {name: save(tmp_path / name, head=at) for at, name in enumerate("abc")}
    tensors = load_file(tmp_path / "b" / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 3] += 1e-6
    save_file(tensors, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    (tmp_path / "c" / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))

    engine = load_engine(names)

    assert loads == list(names.values())
    assert [about["shares_trunk_with"] for about in engine.describe().values()] == [[], [], []]


def test_an_encoders_trunk_is_held_once_whatever_stands_on_it(tmp_path: Path) -> None:
    names = {
        name: save(tmp_path / name, head=at, architecture="bert") for at, name in enumerate("ab")
    }
    engine = load_engine(names)

    # Other heads, with what BERT has between trunk and head: another pooler is another trunk.
    assert engine.describe()["a"]["shares_trunk_with"] == ["b"]
    found = own_rewards(engine, [engine.encode(dialogue) for dialogue in ITEMS])
    for name, path in names.items():
        own = load_engine({name: path})
        wanted = own_rewards(own, [own.encode(dialogue) for dialogue in ITEMS])
        assert [rewards[name] for rewards in found] == pytest.approx(
            [rewards[name] for rewards in wanted], abs=1e-5
        )


def test_contents_are_read_only_where_headers_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for at, trunk in enumerate((1, 2, 1)):
        save(tmp_path / str(at), head=at, trunk=trunk)
        stored = stored_tensors((tmp_path / str(at) / "model.safetensors",))
        tensors = {name: tensor for name, tensor in stored.items() if name != "score.weight"}
        files.append(TrunkFiles(tensors, {"hidden_size": 32}, ()))
    read: list[int] = []
    real = TrunkFiles.digest
    monkeypatch.setattr(
        TrunkFiles, "digest", lambda self: (read.append(files.index(self)), real(self))[1]
    )
    trunks = SharedTrunks[int]()

    assert trunks.take(TrunkFiles(files[0].tensors, {"hidden_size": 64}, ()), lambda: -1) == -1
    assert trunks.take(files[0], lambda: 0) == 0
    assert read == []
    assert trunks.take(files[0], lambda: 9) == 0
    assert read == []
    assert trunks.take(files[1], lambda: 1) == 1
    assert trunks.take(files[2], lambda: 2) == 0
    assert sorted(read) == [0, 1, 2]


def test_blocks_are_the_tensors_own_bytes(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3), "b": torch.arange(7.0)}, tmp_path / "x.safetensors")
    tensor = stored_tensors((tmp_path / "x.safetensors",))["b"]

    blocks = [bytes(block) for block in raw_blocks(tensor, size=10)]

    assert [len(block) for block in blocks] == [10, 10, 8]
    assert b"".join(blocks) == read_tensor(tensor).numpy().tobytes()
