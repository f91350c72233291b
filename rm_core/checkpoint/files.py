"""A checkpoint's files, looked at before any library loads them.

Weights come from safetensors only and no code of the checkpoint ever runs: what would need either
is refused here. Nothing in this module imports transformers.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from rm_core.checkpoint.manifest import file_digest
from rm_core.errors import CheckpointError, CheckpointNotFound, UnsafeCheckpoint

ALLOWED_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
"""What a hub download may bring: weights, configuration, tokenizer; never code or pickles."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack", "*.gguf")
FORBIDDEN_CONFIG_KEYS = ("auto_map", "trust_remote_code", "custom_pipelines")
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
    if directory.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise CheckpointNotFound(f"there is no directory {name}; train one with `rewardd train`")
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
        raise CheckpointNotFound(f"{directory} has no config.json, so it is no model directory")
    config = read_object(path)
    refuse_code(path, config)
    refuse_tokenizer_code(directory)
    if not any(directory.glob("*.safetensors")):
        refuse_pickled(directory)
        raise CheckpointNotFound(f"{directory} has a config.json but no *.safetensors weights")
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: it can't be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return value


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
    """Refuse a tokenizer whose configuration asks for code.

    Raises:
        UnsafeCheckpoint: it does.
    """
    path = directory / "tokenizer_config.json"
    if path.is_file():
        refuse_code(path, read_object(path))


def refuse_code(path: Path, config: dict[str, Any]) -> None:
    """Refuse a configuration that asks for code of the checkpoint's own.

    Args:
        path: of the file, for the message.
        config: its content.

    Raises:
        UnsafeCheckpoint: it does.
    """
    asked = [key for key in FORBIDDEN_CONFIG_KEYS if config.get(key)]
    # A slash names a kernel repository on the hub, whose code would run (CVE-2026-4372).
    asked += [
        key
        for key, value in config.items()
        if "attn_implementation" in key and isinstance(value, str) and "/" in value
    ]
    if asked:
        raise UnsafeCheckpoint(
            f"{path} asks for code of its own ({', '.join(asked)}); rewardd runs no remote code"
        )


def weights_digest(directory: Path) -> str:
    """One sha256 over a checkpoint's safetensors files, hex: the identity of its weights."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


def tensor_names(directory: Path) -> list[str]:
    """Names of all tensors in a checkpoint's safetensors files, sorted."""
    names: list[str] = []
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names.extend(file.keys())
    return sorted(names)
