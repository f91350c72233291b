"""A checkpoint's files, looked at before any library loads them.

Weights come from safetensors only and no code of the checkpoint ever runs: what would need either
is refused here. Nothing in this module imports transformers.
"""

import hashlib
from pathlib import Path
from typing import Any

from rm_core.checkpoint.asked_code import refuse_code
from rm_core.checkpoint.held_files import DigestOf, HeldFiles
from rm_core.checkpoint.json_files import read_object
from rm_core.checkpoint.manifest import (
    MANIFEST_NAME,
    RewardModelManifest,
    file_digest,
    verify_files,
)
from rm_core.checkpoint.weights import weight_files
from rm_core.errors import CheckpointError, CheckpointNotFound, UnsafeCheckpoint

ALLOWED_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What a hub download may bring: weights, configuration, tokenizer; never code or pickles."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack", "*.gguf")
QUANTISERS = {
    "bitsandbytes": "bitsandbytes",
    "load_in_4bit": "bitsandbytes",
    "load_in_8bit": "bitsandbytes",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "hqq": "hqq",
    "aqlm": "aqlm",
    "quanto": "optimum-quanto",
    "eetq": "eetq",
    "quark": "amd-quark",
}
"""Methods of `quantization_config` and the package that reads them."""
ADAPTER_CONFIG = "adapter_config.json"
"""What peft writes beside an adapter's weights; its presence makes a directory an adapter."""


def resolve_directory(name: str, *, revision: str | None = None) -> Path:
    """The local directory of a checkpoint, fetched from the hub where it is a hub name.

    Args:
        name: a directory, or a name on the hub.
        revision: which commit, branch or tag of the hub's; None for its newest.

    Raises:
        CheckpointNotFound: neither a directory nor a model that the hub can give.
    """
    directory = Path(name)
    if directory.is_dir():
        return directory
    if directory.exists():
        raise CheckpointError(f"{name} is a file; name the directory that holds the model's files")
    if directory.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointNotFound(
            f"there is no directory {name}; check the path, or train one with `rewardd train`"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(ALLOWED_HUB_FILES))
        )
    except Exception as error:
        raise CheckpointNotFound(
            f"{name} is no directory here and could not be fetched from the hub "
            f"({type(error).__name__}); check the name, the network, or train one with "
            "`rewardd train`"
        ) from error


def inspect_files(directory: Path) -> dict[str, Any]:
    """Look at a checkpoint's files before any library loads them.

    Returns:
        The content of config.json.

    Raises:
        CheckpointNotFound: no config.json, or no weights at all.
        UnsafeCheckpoint: only pickled weights, or a config that asks for code.
    """
    if (directory / ADAPTER_CONFIG).is_file():
        # transformers would follow it to a base that nobody has inspected.
        raise CheckpointError(
            f"{directory} holds an adapter ({ADAPTER_CONFIG}) where a full checkpoint is needed; "
            "merge the adapter into its base and save the result, or remove the file"
        )
    path = directory / "config.json"
    if not path.is_file():
        raise CheckpointNotFound(
            f"{directory} has no config.json, so it is no model directory; name the one in which "
            "config.json and model.safetensors lie"
        )
    config = read_object(path)
    refuse_code(path, config)
    refuse_tokenizer_code(directory)
    if config.get("configuration_files"):
        raise CheckpointError(
            f"{path} names configurations for other releases of transformers "
            "(configuration_files), and rewardd reads config.json alone; remove the key"
        )
    if config.get("transformers_weights"):
        raise CheckpointError(
            f"{path} names a weight file of its own (transformers_weights); call that file "
            "model.safetensors and remove the key"
        )
    try:
        weight_files(directory)
    except CheckpointNotFound:
        refuse_pickled(directory)
        raise
    return config


def refuse_pickled(directory: Path) -> None:
    """Refuse a directory, found to be without safetensors, for the pickles that it has.

    Raises:
        UnsafeCheckpoint: it has weights in a form that can run code.
    """
    pickled = sorted(path.name for pattern in PICKLED for path in directory.glob(pattern))
    if pickled:
        raise UnsafeCheckpoint(
            f"{directory} has weights only as {', '.join(pickled)}; unpickling can run code, "
            "so rewardd loads safetensors only. Convert them with save_pretrained where you "
            "trust the file"
        )


def refuse_tokenizer_code(directory: Path) -> None:
    """Refuse a tokenizer whose configuration asks for code, or for files of another directory.

    Raises:
        UnsafeCheckpoint: it does.
    """
    path = directory / "tokenizer_config.json"
    if not path.is_file():
        return
    config = read_object(path)
    refuse_code(path, config)
    versions = config.get("fast_tokenizer_files") or []
    wrong = [name for name in versions if not isinstance(name, str) or "/" in name]
    if wrong:
        raise UnsafeCheckpoint(
            f"{path} names {wrong[0]!r} among its fast_tokenizer_files, which is no file beside "
            "it; remove the key"
        )


def refuse_quantised(path: Path, config: dict[str, Any]) -> None:
    """Refuse weights in fewer bits, whose rewards are not those of the model that was trained.

    Args:
        path: of config.json, for the message.
        config: its content.

    Raises:
        CheckpointError: they are.
    """
    inner = config.get("text_config")
    inner = inner if isinstance(inner, dict) else {}
    found = config.get("quantization_config") or inner.get("quantization_config")
    if not found:
        return
    method = found.get("quant_method") if isinstance(found, dict) else None
    if method is None and isinstance(found, dict):
        method = next((m for m in ("load_in_4bit", "load_in_8bit") if found.get(m)), None)
    needs = QUANTISERS.get(str(method))
    where = "" if needs is None else f" where {needs} is installed"
    raise CheckpointError(
        f"{path} says that the weights are quantised ({method or 'quantization_config'}), and "
        "rewardd serves weights as they were trained; take the original checkpoint, or load this "
        f"one with transformers{where}, call model.dequantize() and save_pretrained, and serve "
        "what that saves (`dtype` makes it small again: bfloat16, int8)"
    )


def verify_held(files: HeldFiles, manifest: RewardModelManifest) -> None:
    """Compare every file that a manifest names with its digest, and hide all others.

    Raises:
        DigestMismatch: see `verify_files`.
        UnsafeCheckpoint: likewise.
    """
    known = {name: files.digest_of(files.path / name) for name in files.names}
    verify_files(files.source, manifest, known)
    files.keep_only({*manifest.files, MANIFEST_NAME})


def weights_digest(directory: Path, digest_of: DigestOf = file_digest) -> str:
    """One sha256 over the safetensors files of a checkpoint, hex: the identity of its weights.

    Files that nobody reads don't count; those of an adapter are all its own.

    Args:
        directory: of the checkpoint.
        digest_of: gives each file's.
    """
    adapter = (directory / ADAPTER_CONFIG).is_file()
    paths = sorted(directory.glob("*.safetensors")) if adapter else weight_files(directory)
    digest = hashlib.sha256()
    for path in paths:
        digest.update(digest_of(path).encode())
    return digest.hexdigest()
