"""The choice between our own code and torch for what lies between a trunk's products."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from rm_core.engine.native.compiler import CannotCompile, compiled, default_folder
from rm_core.engine.native.library import SOURCES, NativeLibrary
from rm_core.engine.native.self_check import check
from rm_core.errors import ConfigurationError
from rm_core.types import AttentionChoice


def chosen_native(asked: AttentionChoice, model: Any) -> tuple[NativeLibrary | None, str]:
    """What computes a decoder's attention.

    Args:
        asked: by the caller of the engine.
        model: a transformers model.

    Returns:
        The compiled library, or None for torch alone; and which of both it is and why, for
        `/v1/info` and the log.

    Raises:
        ConfigurationError: the library is asked for, and there is none.
    """
    if asked == "torch":
        return None, "torch, as asked for"
    if model.device.type != "cpu" or any(p.dtype != torch.float32 for p in model.parameters()):
        return None, "torch, as the trunk is not float32 on the CPU"
    library = native_library()
    if isinstance(library, NativeLibrary):
        return library, "native"
    if asked == "native":
        raise ConfigurationError(
            f"attention can't be native: {library}; install a C++ compiler (g++ or clang++), or "
            "leave `attention` at auto"
        )
    return None, f"torch, as {library}"


@cache
def native_library() -> NativeLibrary | str:
    """The library of this process, compiled at its first use; else why there is none."""
    try:
        return _loaded_from(default_folder())
    except CannotCompile as error:
        kept_nowhere = str(error)
    try:
        # Once loaded, a library needs its file no more.
        with TemporaryDirectory(prefix="rewardd-") as folder:
            return _loaded_from(Path(folder))
    except (CannotCompile, OSError):
        return kept_nowhere


def _loaded_from(folder: Path) -> NativeLibrary:
    library = NativeLibrary(compiled(SOURCES, folder))
    check(library)
    return library
