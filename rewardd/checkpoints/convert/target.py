"""Writes a source in another layout: weights shard by shard, configuration, tokenizer.

What a layout can't say is left out and told: `Written.notes`, `Written.dropped_constant`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor

from rewardd.checkpoints.convert import openrlhf, value_heads
from rewardd.checkpoints.convert.classifier import HEAD_WEIGHT, LEFT_BEHIND
from rewardd.checkpoints.convert.names import architecture_of
from rewardd.checkpoints.convert.source import Head, Source
from rewardd.checkpoints.convert.tokenizer import Padding, write_tokenizer
from rewardd.checkpoints.convert.weights import Weights
from rm_core.checkpoint.adapters import HEAD, WEIGHTS
from rm_core.checkpoint.adapters import HEAD_BIAS as ADAPTER_HEAD_BIAS
from rm_core.checkpoint.classifier import ACTIVATION_KEY, OF_OURS
from rm_core.checkpoint.classifier import HEAD as HEAD_MODULE
from rm_core.checkpoint.files import ADAPTER_CONFIG
from rm_core.checkpoint.heads import HEAD_BIAS
from rm_core.errors import CheckpointError
from rm_core.text.contract import PositionContract

Target = Literal["rewardd", "transformers", "openrlhf", "llama-factory", "trl"]
MAX_SHARD_SIZE = "5GB"
OF_OTHERS = ("auto_map", "normalize_reward", openrlhf.PREFIX_KEY, LEFT_BEHIND)
"""Keys of config.json that mean nothing, or something else, in another layout."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How the target is to read texts.

    Attributes:
        tokenizer: with its pad token settled.
        directory: where the tokenizer's files are.
        padding: which that is.
        contract: the position contract.
    """

    tokenizer: Any
    directory: Path
    padding: Padding
    contract: PositionContract


@dataclass(frozen=True, slots=True)
class Written:
    """What a target could not take along.

    Attributes:
        dropped_constant: how much higher the source's rewards are, each by the same.
        notes: for the user.
    """

    dropped_constant: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What one layout makes of a reward model.

    Attributes:
        is_causal: a causal language model under a value head; else a sequence classifier.
        head_file: where the value head is kept apart from the model's own tensors.
        keeps_bias: whether the classifier's head has a place for its bias.
        takes_adapters: whether an adapter may stay one.
        extra: further keys of config.json.
        has_normalisation: whether our baseline is written as mean and std.
    """

    is_causal: bool = False
    head_file: str | None = None
    keeps_bias: bool = False
    takes_adapters: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    has_normalisation: bool = False


FORMS: Mapping[Target, Form] = {
    "rewardd": Form(keeps_bias=True, takes_adapters=True),
    "transformers": Form(takes_adapters=True),
    "openrlhf": Form(extra={openrlhf.PREFIX_KEY: "score"}, has_normalisation=True),
    "llama-factory": Form(is_causal=True, head_file="value_head.safetensors"),
    "trl": Form(is_causal=True),
}


def write_target(source: Source, reader: Reader, target: Target, directory: Path) -> Written:
    """Write everything but our manifest.

    Args:
        source: what to write.
        reader: how it reads texts.
        target: in which layout.
        directory: empty.

    Raises:
        CheckpointError: the layout can't hold this model.
    """
    if not source.weights:
        raise CheckpointError(
            f"{source.directory} has a head and no tensors of a model under it; is it whole?"
        )
    form = FORMS[target]
    if source.lora is not None and not form.takes_adapters:
        raise CheckpointError(
            f"{source.directory} is an adapter, and {target} gets full checkpoints only; merge it "
            "into its base and convert the result"
        )
    if source.head is not None and source.head.before and target != "rewardd":
        raise CheckpointError(
            f"{source.directory} has a head with hidden layers, for which {target} has no place; "
            "rewardd has (--to rewardd)"
        )
    if source.lora is not None:
        written = _write_adapter(source, directory, keeps_bias=form.keeps_bias)
    elif form.is_causal:
        written = _write_causal(source, reader, form, directory)
    else:
        written = _write_classifier(source, reader, form, directory)
    write_tokenizer(reader.tokenizer, reader.directory, directory, changed=reader.padding.changed)
    return written


def _write_classifier(source: Source, reader: Reader, form: Form, directory: Path) -> Written:
    if form.has_normalisation and source.head is None:
        raise CheckpointError("OpenRLHF has reward models of decoders only")
    write_weights(directory, {**source.weights, **_head(source, keeps_bias=form.keeps_bias)})
    config = classifier_config(source, reader.padding)
    if source.head is not None and source.head.before:
        config |= {OF_OURS: {ACTIVATION_KEY: source.head.activation}}
    if form.keeps_bias:
        write_json(directory / "config.json", config)
        return Written()
    constant = head_bias(source)
    normalisation = source.normalisation
    if form.has_normalisation and normalisation is None:
        normalisation = _normalisation_of_baseline(source)
    if normalisation is not None:
        # Rewards there lack the constant, and so must the mean that is taken from them.
        mean, std = normalisation
        config |= {"mean": mean - constant, "std": std}
    left = {"head_bias": constant, "position": reader.contract.to_json()}
    write_json(directory / "config.json", {**config, LEFT_BEHIND: left, **form.extra})
    return Written(constant, _told(source, constant))


def _write_causal(source: Source, reader: Reader, form: Form, directory: Path) -> Written:
    architecture = architecture_of(source.config)
    if architecture.causal is None or source.head is None:
        raise CheckpointError("value heads are for causal language models; this is none")
    values = _value_head(source.head)
    if form.head_file is not None:
        save_file(values, directory / form.head_file, metadata={"format": "pt"})
        values = {}
    inside = {name: partial(_given, tensor) for name, tensor in values.items()}
    write_weights(directory, {**source.weights, **inside})
    dropped = {*OF_OTHERS, "num_labels", "id2label", "label2id", "problem_type"}
    config = {key: value for key, value in source.config.items() if key not in dropped}
    config |= {
        "architectures": [architecture.causal.__name__],
        "pad_token_id": reader.padding.token_id,
    }
    write_json(directory / "config.json", config)
    notes = _told(source, 0.0)
    if not architecture.config.get_text_config().tie_word_embeddings:
        notes += (
            "a reward model has no language-model head: whoever loads it draws one at random, on "
            "which no reward depends",
        )
    return Written(notes=notes)


def _given(tensor: Tensor) -> Tensor:
    return tensor


def _write_adapter(source: Source, directory: Path, *, keeps_bias: bool) -> Written:
    """A peft adapter for sequence classification, its head among its tensors."""
    if source.lora is None or source.head is None or source.head.before:
        raise CheckpointError(
            f"{source.directory} is no adapter with a linear head; merge it into its base, and "
            "convert the result"
        )
    tensors = {name: read().contiguous() for name, read in source.weights.items()}
    tensors[HEAD] = source.head.weight
    constant = 0.0 if keeps_bias else head_bias(source)
    if keeps_bias and source.head.bias is not None:
        tensors[ADAPTER_HEAD_BIAS] = source.head.bias
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    saved = source.lora.config.get("modules_to_save") or []
    heads = {"lm_head", HEAD_MODULE, source.named_head}
    config = {
        **source.lora.config,
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": source.lora.base,
        "modules_to_save": [*(m for m in saved if m not in heads), HEAD_MODULE],
    }
    if source.lora.base != source.lora.config.get("base_model_name_or_path"):
        config["revision"] = None
    write_json(directory / ADAPTER_CONFIG, config)
    return Written(constant, _told(source, constant))


def _told(source: Source, constant: float) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if constant:
        notes = (
            f"the head's bias has no place there: rewards are lower by the constant {constant!r}, "
            "differences between them are the same",
        )
    manifest = source.manifest
    if manifest is not None and (manifest.temperature, manifest.bias) != (1.0, 0.0):
        notes += (
            f"the calibration (temperature {manifest.temperature:g}, bias {manifest.bias:g}) stays "
            "behind: what it gives are raw rewards",
        )
    return notes


def head_bias(source: Source) -> float:
    """The head's constant; 0 without one."""
    bias = None if source.head is None else source.head.bias
    return 0.0 if bias is None else float(bias)


def _head(source: Source, *, keeps_bias: bool) -> Weights:
    if source.head is None:
        return {}
    if source.head.before:
        return _hidden_layers(source.head)
    head = {HEAD_WEIGHT: partial(_given, source.head.weight)}
    if keeps_bias and source.head.bias is not None:
        head[HEAD_BIAS] = partial(_given, source.head.bias)
    return head


def _hidden_layers(head: Head) -> Weights:
    """A head's layers as torch names those of a Sequential, the activations between them."""
    named: dict[str, Tensor] = {}
    for index, (weight, bias) in enumerate(head.layers):
        named[f"{HEAD_MODULE}.{2 * index}.weight"] = weight
        if bias is not None:
            named[f"{HEAD_MODULE}.{2 * index}.bias"] = bias
    return {name: partial(_given, tensor) for name, tensor in named.items()}


def _value_head(head: Head) -> dict[str, Tensor]:
    bias = head.weight.new_zeros(1) if head.bias is None else head.bias.contiguous()
    return {value_heads.HEAD_WEIGHT: head.weight.contiguous(), value_heads.HEAD_BIAS: bias}


def _normalisation_of_baseline(source: Source) -> tuple[float, float] | None:
    """Our baseline on the raw scale: calibrated = raw / temperature + bias."""
    manifest = source.manifest
    if manifest is None or manifest.baseline is None:
        return None
    baseline = manifest.baseline
    mean = (baseline.mean - manifest.bias) * manifest.temperature
    return mean, baseline.std * manifest.temperature


def classifier_config(source: Source, padding: Padding) -> dict[str, Any]:
    """config.json of a sequence classifier with one label."""
    config = {key: value for key, value in source.config.items() if key not in OF_OTHERS}
    config |= {
        "architectures": [architecture_of(source.config).classifier.__name__],
        "id2label": {"0": "reward"},
        "label2id": {"reward": 0},
        "num_labels": 1,
        "pad_token_id": padding.token_id,
    }
    inner = config.get("text_config")
    if isinstance(inner, dict):
        config["text_config"] = {**inner, "pad_token_id": padding.token_id}
    return config


def write_weights(directory: Path, weights: Weights, max_shard_size: str = MAX_SHARD_SIZE) -> None:
    """Tensors as safetensors, in their own dtypes, one shard in memory at a time.

    Args:
        directory: gets model.safetensors, or shards and their index.
        weights: names and how to read each.
        max_shard_size: as huggingface_hub takes it.
    """
    shapes = {name: torch.empty_like(read(), device="meta") for name, read in weights.items()}
    split = split_torch_state_dict_into_shards(shapes, max_shard_size=max_shard_size)
    for file, names in split.filename_to_tensors.items():
        # A pickle's tied tensors share memory, which safetensors refuses.
        shard = {name: weights[name]().contiguous().clone() for name in names}
        save_file(shard, directory / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_json(directory / "model.safetensors.index.json", index)


def write_json(path: Path, value: Any) -> None:
    """A JSON file as transformers writes its own."""
    path.write_text(
        json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
