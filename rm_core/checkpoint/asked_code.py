"""Whether a configuration asks for code, anywhere in it.

transformers sets every key of a configuration as an attribute, at any depth and of any type, and
reads some of its own settings back from there: what may name code or a repository is refused unless
it is on a list of what is known to name neither.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rm_core.errors import CheckpointError, UnsafeCheckpoint

FORBIDDEN = (
    "auto_map",
    "trust_remote_code",
    "custom_pipelines",
    "custom_generate",
    "custom_code",
    "allow_all_kernels",
    "use_kernels",
    "use_hub_kernels",
    "kernels",
    "kernel_config",
    "kernel_mapping",
    "hub_kernels",
)
"""Keys that ask for code wherever they hold anything."""

IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention")
FLASH_ATTENTION = ("flash_attention_2", "flash_attention_3", "flash_attention_4")
EXPERTS = ("eager", "batched_mm", "grouped_mm")
PRIVATE_TEXTS = ("_name_or_path", "_commit_hash", "_class_name", "_diffusers_version")
"""Keys that begin with an underscore and may hold a text; transformers' own settings begin so."""

MAX_DEPTH = 24


def refuse_code(path: Path, config: dict[str, Any]) -> None:
    """Refuse a configuration that asks for code of the checkpoint's own, or of a repository.

    Args:
        path: of the file, for the message.
        config: its content.

    Raises:
        UnsafeCheckpoint: it does.
        CheckpointError: it is nested deeper than any configuration.
    """
    asked = list(dict.fromkeys(_asked(path, config)))
    if asked:
        raise UnsafeCheckpoint(
            f"{path} asks for code of its own ({', '.join(asked[:5])}); rewardd runs no remote "
            "code. Where transformers knows the model itself (its model_type), remove the key from "
            "a copy"
        )


def _asked(path: Path, config: dict[str, Any]) -> Iterator[str]:
    level: list[tuple[str, Any]] = [("", config)]
    for _ in range(MAX_DEPTH):
        below: list[tuple[str, Any]] = []
        for where, value in level:
            if isinstance(value, dict):
                for key, inner in value.items():
                    if _asks(str(key), inner):
                        yield f"{where}{key}"
                    below.append((f"{where}{key}.", inner))
            elif isinstance(value, list):
                below += [(where, inner) for inner in value if isinstance(inner, dict | list)]
        if not below:
            return
        level = below
    raise CheckpointError(f"{path} is nested more than {MAX_DEPTH} deep, as no configuration is")


def _asks(key: str, value: object) -> bool:
    if key in FORBIDDEN:
        return bool(value)
    if "attn_implementation" in key:
        is_switch = key.endswith("autoset") and isinstance(value, bool)
        return not (value is None or is_switch or _is_known_attention(value))
    if "experts_implementation" in key:
        return not (value is None or value in EXPERTS)
    if key.startswith("_") and key not in PRIVATE_TEXTS:
        return isinstance(value, str) and "/" in value
    return False


def _is_known_attention(value: object) -> bool:
    """Whether a name is one of torch's own, or of a package that is installed."""
    if not isinstance(value, str):
        return False
    if value in IMPLEMENTATIONS:
        return True
    # Without the package, transformers falls back to a kernel repository where it can read one.
    has_own = find_spec("flash_attn") is not None or find_spec("kernels") is None
    return value in FLASH_ATTENTION and has_own
