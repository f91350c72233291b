"""Pickled weights, for conversion alone and only where the user says so.

The one place that calls torch.load. DeepSpeed-Chat saves nothing else, and older checkpoints of the
other projects are pickles too. `weights_only=True` restricts unpickling to tensors and plain
containers; it has had holes (CVE-2025-32434 in torch < 2.6), so the user must ask for it by name.
"""

from pathlib import Path

import torch
from torch import Tensor

from rm_core.errors import CheckpointError


def load_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled state dict, by name; memory-mapped where the file allows it.

    Args:
        path: a `.bin` file of torch.save.

    Raises:
        CheckpointError: it holds something else than tensors by name, or more than tensors.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # unpickling raises what it likes
        raise CheckpointError(
            f"{path} can't be read as plain tensors ({type(error).__name__}); it may be damaged or "
            "hold code, which rewardd never runs. Save it as safetensors where it was made"
        ) from error
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        raise CheckpointError(f"{path} holds no state dict: tensors by name and nothing else")
    return value


def _is_zip(path: Path) -> bool:
    """Whether torch can map the file into memory: its format since 1.6 is a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
