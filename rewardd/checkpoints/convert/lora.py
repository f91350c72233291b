"""LoRA adapters of causal language models under a value head, and adapters with a head of ours."""

from collections.abc import Collection, Mapping
from typing import Any

from rewardd.checkpoints.convert.reading import Contract
from rewardd.checkpoints.convert.source import (
    Found,
    Head,
    LayoutName,
    LoraParts,
    ReadOptions,
    Source,
)
from rewardd.checkpoints.convert.weights import Weights, take
from rm_core.checkpoint.adapters import HEAD, HEAD_BIAS
from rm_core.checkpoint.files import ADAPTER_CONFIG, inspect_files, resolve_directory
from rm_core.checkpoint.manifest import RewardModelManifest
from rm_core.errors import CheckpointNotFound

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
LM_HEADS = (".lm_head.", ".embed_out.")


def read_adapter(
    found: Found,
    options: ReadOptions,
    *,
    layout: LayoutName,
    head: Head,
    contract: Contract,
    notes: tuple[str, ...] = (),
    manifest: RewardModelManifest | None = None,
    head_names: Collection[str] = (HEAD, HEAD_BIAS),
) -> Source:
    """An adapter's own tensors, and the base that it sits on.

    Args:
        found: the adapter's directory.
        options: may name another base.
        layout: whose.
        head: read by the layout.
        contract: the layout's.
        notes: the layout's.
        manifest: where it is ours.
        head_names: the head's own tensors.

    Raises:
        CheckpointNotFound: the base can't be had.
    """
    config = found.adapter or {}
    parts = _base(found, config, options.base)
    has_tokenizer = any((found.directory / name).is_file() for name in TOKENIZER_FILES)
    return Source(
        found=found,
        layout=layout,
        config=inspect_files(parts.base_directory),
        weights=adapted(found.open(found.adapter_weights, "adapter_model.safetensors"), head_names),
        head=head,
        contract=contract,
        pad="keep",
        tokenizer=None if has_tokenizer else parts.base_directory,
        lora=parts,
        manifest=manifest,
        notes=notes,
    )


def _base(found: Found, config: Mapping[str, Any], given: str | None) -> LoraParts:
    name = given or config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise CheckpointNotFound(
            f"{found.directory}'s {ADAPTER_CONFIG} names no base; give it with --base"
        )
    revision = None if given else config.get("revision")
    try:
        directory = resolve_directory(name, revision=revision)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(
            f"{found.directory} is an adapter, and its base is not to be had: {error}; give "
            "another place with --base"
        ) from error
    return LoraParts(config, name, directory)


def adapted(weights: Weights, head_names: Collection[str] = (HEAD, HEAD_BIAS)) -> Weights:
    """An adapter's tensors without heads: the reward's is kept apart, a language model's unused."""
    return {
        name: read
        for name, read in weights.items()
        if name not in head_names and not any(part in name for part in LM_HEADS)
    }


def head_of_adapter(found: Found) -> Head:
    """The `score` head that peft saved with a sequence classification adapter.

    Raises:
        CheckpointError: there is none.
    """
    weights = found.open(found.adapter_weights, "adapter_model.safetensors")
    bias = weights[HEAD_BIAS]() if HEAD_BIAS in weights else None
    return Head.of(take(weights, HEAD, found.directory), bias, found.directory)
