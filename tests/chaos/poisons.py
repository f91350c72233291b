"""Checkpoints that somebody else made, each with one thing in it that must not become ready.

Every poison gets a sound checkpoint and a canary: a file that only the poison's success touches, or
that lies outside of the checkpoint and must not be read.
"""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rm_core.checkpoint.golden import GoldenReward, write_golden
from rm_core.checkpoint.manifest import MANIFEST_NAME, RewardModelManifest, write_manifest
from rm_core.text.contract import default_contract
from tests.models import make_tokenizer, save_checkpoint

LOOP = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}"
)
CODE = "import pathlib\npathlib.Path({canary!r}).touch()\n"


@dataclass(frozen=True)
class Poison:
    """One way to be poisoned.

    Attributes:
        name: of it.
        make: poisons a sound checkpoint; also given the canary.
        told: what the refusal says, as a pattern.
        tried: whether only the trial in a process of its own can tell it in time.
    """

    name: str
    make: Callable[[Path, Path], None]
    told: str
    tried: bool = False


def sound(directory: Path) -> Path:
    """A checkpoint of a safety model without anything wrong."""
    tokenizer = make_tokenizer(chat=True)
    save_checkpoint(directory, tokenizer=tokenizer)
    return directory


def edited(file: str, **changes: Any) -> Callable[[Path, Path], None]:
    """Further keys in a JSON file; beside it lies code that touches the canary."""

    def make(directory: Path, canary: Path) -> None:
        (directory / "evil.py").write_text(CODE.format(canary=str(canary)))
        value = json.loads((directory / file).read_text())
        (directory / file).write_text(json.dumps(value | changes))

    return make


def template(source: str) -> Callable[[Path, Path], None]:
    def make(directory: Path, _: Path) -> None:
        (directory / "chat_template.jinja").write_text(source)

    return make


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path, Path], None]:
    def make(directory: Path, _: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        change(tensors)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    return make


def tokenizer_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], None]:
    def make(directory: Path, _: Path) -> None:
        path = directory / "tokenizer.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return make


def manifest(directory: Path, **changes: Any) -> None:
    contract = default_contract(make_tokenizer(chat=True), max_length=300)
    write_manifest(directory, RewardModelManifest(role="safety", position=contract))
    value = json.loads((directory / MANIFEST_NAME).read_text())
    (directory / MANIFEST_NAME).write_text(json.dumps(value | changes))


def _manifest(**changes: Any) -> Callable[[Path, Path], None]:
    return lambda directory, _: manifest(directory, **changes)


def _pickle(directory: Path, canary: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (canary,))

    (directory / "model.safetensors").unlink()
    torch.save({"score.weight": Bomb()}, directory / "pytorch_model.bin")


def elsewhere(directory: Path) -> Path:
    """Weights beside the checkpoint whose rewards are the opposite."""
    tensors = load_file(directory / "model.safetensors")
    tensors["score.weight"].neg_()
    other = directory.parent / "elsewhere.safetensors"
    save_file(tensors, other, metadata={"format": "pt"})
    return other


def shard_elsewhere(directory: Path, _: Path) -> None:
    other = elsewhere(directory)
    names = dict.fromkeys(load_file(other), f"../{other.name}")
    (directory / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": names}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def link_elsewhere(directory: Path, _: Path) -> None:
    other = elsewhere(directory)
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").symlink_to(other)


def _linked(file: str, target: str) -> Callable[[Path, Path], None]:
    def make(directory: Path, _: Path) -> None:
        (directory / file).unlink(missing_ok=True)
        (directory / file).symlink_to(target)

    return make


def _pipe(file: str) -> Callable[[Path, Path], None]:
    def make(directory: Path, _: Path) -> None:
        (directory / file).unlink(missing_ok=True)
        os.mkfifo(directory / file)

    return make


def _socket(directory: Path, _: Path) -> None:
    (directory / "merges.txt").unlink(missing_ok=True)
    here = Path.cwd()
    try:
        os.chdir(directory)  # the name of a socket is short
        socket.socket(socket.AF_UNIX).bind("merges.txt")
    finally:
        os.chdir(here)


def _golden(directory: Path, _: Path) -> None:
    write_golden(directory, [GoldenReward("What is 2 + 2?", "4", 77.0)])


def _names_outside(directory: Path, canary: Path) -> None:
    secret = canary.with_name("secret")
    secret.write_text("not yours")
    manifest(directory)
    value = json.loads((directory / MANIFEST_NAME).read_text())
    value["files"][f"../{secret.name}"] = "0" * 64
    (directory / MANIFEST_NAME).write_text(json.dumps(value))


_NESTED = {"text_config": {"parts": [{"auto_map": {"AutoModel": "evil.Model"}}]}}
_BLOWN = {
    "type": "Sequence",
    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 30}] * 2,
}
_WITHOUT_END = {
    "type": "Sequence",
    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 60}] * 6,
}

POISONS = (
    Poison("pickle", _pickle, "pytorch_model"),
    Poison("auto_map", edited("config.json", auto_map={"AutoModel": "evil.M"}), "auto_map"),
    Poison("auto_map below", edited("config.json", **_NESTED), r"text_config\.parts\.auto_map"),
    Poison("trust", edited("config.json", vision={"trust_remote_code": "yes"}), "trust_remote"),
    Poison(
        "tokenizer auto_map",
        edited("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
        "auto_map",
    ),
    Poison(
        "kernel", edited("config.json", _attn_implementation="some/kernel"), "_attn_implementation"
    ),
    Poison(
        "kernel in a table",
        edited("config.json", _attn_implementation={"": "some/kernel"}),
        "_attn_implementation",
    ),
    Poison(
        "kernel in a list",
        edited("config.json", text_config={"attn_implementation_internal": ["some/kernel"]}),
        "attn_implementation",
    ),
    Poison("kernels", edited("config.json", kernel_config={"RMSNorm": "some/k"}), "kernel_config"),
    Poison(
        "other configuration",
        edited("config.json", configuration_files=["config.5.0.0.json"]),
        "configuration_files",
    ),
    Poison(
        "other tokenizer",
        edited("tokenizer_config.json", fast_tokenizer_files=["../../tokenizer.4.0.json"]),
        "fast_tokenizer_files",
    ),
    Poison("shard elsewhere", shard_elsewhere, "not in"),
    Poison("link elsewhere", link_elsewhere, "outside of the checkpoint"),
    Poison("link to a device", _linked("model.safetensors", "/dev/zero"), "model.safetensors"),
    Poison("link to a secret", _linked("merges.txt", "/etc/passwd"), "outside of the checkpoint"),
    Poison("pipe as configuration", _pipe("tokenizer_config.json"), "a pipe"),
    Poison("pipe as template", _pipe("chat_template.jinja"), "a pipe"),
    Poison("socket", _socket, "a socket"),
    Poison("manifest names outside", _names_outside, "secret"),
    Poison("temperature", _manifest(temperature=1e308), "temperature"),
    Poison("bias", _manifest(bias=-1e300), "bias"),
    Poison("NaN head", weights(lambda w: w["score.weight"].fill_(torch.nan)), "NaN"),
    Poison("infinite head", weights(lambda w: w["score.weight"][0, 3:4].fill_(torch.inf)), "NaN"),
    Poison("head of zeros", weights(lambda w: w["score.weight"].zero_()), "all 0"),
    Poison(
        "NaN within",
        weights(lambda w: w["model.layers.1.mlp.up_proj.weight"][0, :1].fill_(torch.nan)),
        "NaN",
    ),
    Poison("deaf template", template("{{ bos_token }}How do you do?"), "leaves the text out"),
    Poison("template without end", template(LOOP), "takes more than"),
    Poison("huge template", template("{{ 'a' * 10 ** 11 }}"), "too many digits|makes more than"),
    Poison("other rewards", _golden, "golden_rewards", tried=True),
    Poison(
        "a billion layers", edited("config.json", num_hidden_layers=10**9), "building", tried=True
    ),
    Poison("a trillion words", edited("config.json", vocab_size=10**12), "files hold", tried=True),
    Poison("a billion labels", edited("config.json", num_labels=10**9), "building", tried=True),
    Poison(
        "tokenizer blows up",
        tokenizer_json(lambda value: value.update(normalizer=_BLOWN)),
        "tokens of",
        tried=True,
    ),
    Poison(
        "tokenizer without end",
        tokenizer_json(lambda value: value.update(normalizer=_WITHOUT_END)),
        "loading its tokenizer",
        tried=True,
    ),
)
