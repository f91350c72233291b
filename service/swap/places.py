"""Where a checkpoint may be loaded from while the service goes on: below `model_root` alone."""

import json
import re
from collections.abc import Collection
from pathlib import Path

from rm_core.checkpoint.files import ADAPTER_CONFIG
from rm_core.checkpoint.source import LABEL_MARK, ModelSource
from service.swap.errors import SwapRefused

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_MAX_ADAPTER_CONFIG_BYTES = 2**20


def source_below(root: Path | None, name: str, *, bases: Collection[str] = ()) -> ModelSource:
    """The checkpoint of a name that a caller sent.

    Args:
        root: the directory below which it must lie; None: nothing may be loaded.
        name: a path relative to `root`, its parts made of A-Z, a-z, 0-9, dot, underscore and
            hyphen; `#LABEL` behind it for one label.
        bases: of adapters that serve already, as these name them; another base must lie below
            `root`, too, and comes from no hub.

    Raises:
        SwapRefused: nothing may be loaded, the name can't be one, or leads elsewhere.
    """
    if root is None:
        raise SwapRefused(
            "model_root_not_set",
            "Models can't be replaced, as model_root is not set; set it to the directory that "
            "holds the checkpoints which may be loaded.",
            409,
        )
    path, _, label = name.partition(LABEL_MARK)
    parts = path.split("/")
    if not all(_PART.match(part) for part in parts):
        raise SwapRefused(
            "invalid_model_name",
            "A model is named by its directory relative to model_root: parts of A-Z, a-z, 0-9, "
            "dot, underscore and hyphen, separated by /.",
        )
    directory = _below(root, root.joinpath(*parts), "It")
    _check_links(root, directory)
    _check_base(root, directory, bases)
    return ModelSource(str(directory), label or None)


def _below(root: Path, path: Path, what: str) -> Path:
    """The real path of a directory that lies below the root, links followed."""
    try:
        real, top = path.resolve(strict=True), root.resolve(strict=True)
        found = real.is_dir() and real.is_relative_to(top) and real != top
    except (OSError, RuntimeError, ValueError):
        found = False
    if not found:
        raise SwapRefused(
            "checkpoint_not_found",
            f"{what} is no directory below model_root; links that lead out of it are not followed.",
        )
    return real


def _check_links(root: Path, directory: Path) -> None:
    """Refuse files that are links out of the root; a hub cache's links to its blobs stay in it."""
    top = root.resolve()
    if not all(path.resolve().is_relative_to(top) for path in directory.iterdir()):
        raise SwapRefused(
            "checkpoint_not_found", "Some of its files are links that lead out of model_root."
        )


def _check_base(root: Path, directory: Path, bases: Collection[str]) -> None:
    """Refuse an adapter whose base comes from elsewhere."""
    config = directory / ADAPTER_CONFIG
    if not config.is_file():
        return
    try:
        with config.open("rb") as file:
            told = json.loads(file.read(_MAX_ADAPTER_CONFIG_BYTES))
        base = told["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        base = None
    if not isinstance(base, str):
        raise SwapRefused(
            "invalid_checkpoint", "It is an adapter whose adapter_config.json names no base."
        )
    if base not in bases:
        _below(root, Path(base), "It is an adapter, and its base")
