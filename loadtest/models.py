"""Random benchmark models: ordinary HF checkpoints of a stated size, with a trained tokenizer.

Random weights cost what trained ones cost. They are scaled so that rewards spread over a few units;
a head whose rewards were all alike would hide a wrong row or a neighbour's influence.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from loadtest.synthetic_text import sentences, word_forms

SPECIAL_TOKENS = ("<s>", "</s>", "<pad>")
FORMAT = 2
"""Raised when what is built changes, so that older directories are built anew."""
_HEAD = "score.weight"
_INDEX = "model.safetensors.index.json"
_SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The shape of a Llama for sequence classification.

    Attributes:
        layers: decoder layers.
        hidden: width; heads are 64 wide (or one head), two to a key-value head.
        vocabulary: rows of the embedding; the tokenizer has at most so many tokens.
        positions: longest text in tokens.
    """

    layers: int
    hidden: int
    vocabulary: int
    positions: int = 4096

    @property
    def heads(self) -> int:
        """Attention heads."""
        return max(2, self.hidden // 64)

    @property
    def intermediate(self) -> int:
        """Width of the feed-forward half: 8/3 of the hidden, rounded up to 64."""
        return -(-self.hidden * 8 // (3 * 64)) * 64


SIZES: dict[str, ModelSize] = {
    "tiny": ModelSize(layers=6, hidden=256, vocabulary=8192),
    "narrow": ModelSize(layers=12, hidden=256, vocabulary=8192),
    "small": ModelSize(layers=12, hidden=512, vocabulary=16384),
    "toy": ModelSize(layers=2, hidden=64, vocabulary=1024, positions=1024),
}


@dataclass(frozen=True, slots=True)
class BenchmarkModels:
    """Three checkpoints' directories.

    Attributes:
        safety: one trunk and head.
        helpfulness: another head on the same trunk.
        other_trunk: a head on a trunk of its own.
    """

    safety: Path
    helpfulness: Path
    other_trunk: Path


def build_models(directory: Path, size: ModelSize, *, seed: int = 0) -> BenchmarkModels:
    """Build the three checkpoints, unless they stand there already.

    Args:
        directory: gets the sub-directories safety, helpfulness and other-trunk.
        size: the models' shape.
        seed: of the weights.
    """
    names = BenchmarkModels(
        directory / "safety", directory / "helpfulness", directory / "other-trunk"
    )
    wanted = {"format": FORMAT, "seed": seed, **asdict(size)}
    marker = directory / "benchmark_models.json"
    if marker.exists() and json.loads(marker.read_text("utf-8")) == wanted:
        return names
    quiet_transformers()
    for name in (names.safety, names.helpfulness, names.other_trunk):
        shutil.rmtree(name, ignore_errors=True)
    tokenizer = make_tokenizer(size.vocabulary)
    for name, trunk_seed, head_seed in (
        (names.safety, seed, seed),
        (names.helpfulness, seed, seed + 1),
        (names.other_trunk, seed + 2, seed + 2),
    ):
        model = random_model(size, tokenizer, trunk_seed=trunk_seed, head_seed=head_seed)
        model.save_pretrained(name)
        _save_tokenizer(tokenizer, name)
    marker.write_text(json.dumps(wanted), "utf-8")
    return names


def build_heads(directory: Path, trunk: Path, count: int) -> list[Path]:
    """Checkpoints with random heads of their own on one trunk, whose weights they have in common.

    Args:
        directory: gets a sub-directory for each.
        trunk: a checkpoint that `build_models` wrote.
        count: how many.
    """
    import torch
    from safetensors.torch import load_file, save_file

    names = [directory / f"head-{number}" for number in range(count)]
    if all((name / _INDEX).exists() for name in names):
        return names
    weights = load_file(trunk / "model.safetensors")
    head = weights.pop(_HEAD)
    directory.mkdir(parents=True, exist_ok=True)
    shared = directory / "trunk.safetensors"
    save_file(weights, shared, metadata={"format": "pt"})
    for number, name in enumerate(names):
        shutil.rmtree(name, ignore_errors=True)
        shutil.copytree(trunk, name, ignore=shutil.ignore_patterns("*.safetensors"))
        drawn = torch.Generator().manual_seed(1000 + number)
        own = torch.randn(head.shape, generator=drawn) * head.shape[1] ** -0.5
        # One file on the disk, whatever the number of heads.
        (name / _SHARDS[0]).hardlink_to(shared)
        save_file({_HEAD: own}, name / _SHARDS[1], metadata={"format": "pt"})
        where = dict.fromkeys(weights, _SHARDS[0]) | {_HEAD: _SHARDS[1]}
        index = {"metadata": {"total_size": 0}, "weight_map": where}
        (name / _INDEX).write_text(json.dumps(index), "utf-8")
    return names


def _save_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Under the class name that peers with an older transformers know as well."""
    tokenizer.save_pretrained(directory)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2), "utf-8")


def quiet_transformers() -> None:
    """No progress bars of its own: they would stand between the table's lines."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def make_tokenizer(vocabulary: int) -> Any:
    """A byte-level BPE tokenizer trained on the word list; it adds no special tokens itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_corpus(vocabulary), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **dict(zip(("bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True)),
    )


def _corpus(vocabulary: int) -> Iterator[str]:
    forms = word_forms(2 * vocabulary)
    yield from islice(sentences(Random(0), forms), 4 * vocabulary)
    yield " ".join(forms)


def llama_config(size: ModelSize, **overrides: Any) -> Any:
    """The transformers configuration of a size."""
    from transformers import LlamaConfig

    values: dict[str, Any] = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads // 2,
        "max_position_embeddings": size.positions,
        "num_labels": 1,
    }
    return LlamaConfig(**{**values, **overrides})


def random_model(size: ModelSize, tokenizer: Any, *, trunk_seed: int, head_seed: int) -> Any:
    """A random Llama for sequence classification with one label, float32, in eval mode."""
    import torch
    from transformers import LlamaForSequenceClassification

    config = llama_config(
        size,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForSequenceClassification(config)
    scale_weights(model.model, torch.Generator().manual_seed(trunk_seed))
    scale_weights(model.score, torch.Generator().manual_seed(head_seed))
    return model.eval()


def scale_weights(module: Any, generator: Any) -> None:
    """Draw a module's matrices with variance 1/fan-in, embeddings with variance 1."""
    import torch
    from torch import nn

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.weight.normal_(0.0, part.in_features**-0.5, generator=generator)
            elif isinstance(part, nn.Embedding):
                part.weight.normal_(0.0, 1.0, generator=generator)
