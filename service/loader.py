"""Loading models as the settings say, at the start and beside those that serve."""

import contextlib
import ctypes
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import rm_core.engine
from rm_core.checkpoint.files import ADAPTER_CONFIG
from rm_core.checkpoint.open_files import Caution
from rm_core.checkpoint.source import ModelSource
from rm_core.engine import Engine
from rm_core.types import ModelName, Scorer
from service.preflight import check_checkpoint
from service.settings import Settings
from service.swap.errors import SwapRefused

MARGIN = 1.2
"""What a checkpoint takes beside its weights while it is loaded and tried, as a factor."""

_LEAST_BYTES = 256 * 2**20
_BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}


class ModelLoader:
    """Loads models with every check that they get at the start.

    Args:
        settings: frozen settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def load(self, sources: Mapping[ModelName, ModelSource]) -> Engine:
        """The models beside those that serve.

        Raises:
            SwapRefused: they don't fit into what memory is free.
            CheckpointError: a checkpoint can't be used.
            ConfigurationError: the settings don't suit one.
        """
        for source in sources.values():
            check_checkpoint(source.name)
        self._require_memory(sources)
        trial = self._settings.trial()
        try:
            return self.load_now(sources, Caution(trial=trial))
        finally:
            if trial is not None:
                trial.close()

    def load_now(self, sources: Mapping[ModelName, ModelSource], caution: Caution) -> Engine:
        """The models, whatever room there is; see `load` for what it raises."""
        settings = self._settings
        return rm_core.engine.load_engine(
            sources,
            settings.engine_options(),
            device=settings.device,
            overrides=settings.contract_overrides(),
            caution=caution,
        )

    def release(self, scorer: Scorer) -> None:
        """Give back the memory of an engine that nothing uses any more."""
        if isinstance(scorer, Engine):
            scorer.close()
            scorer.release()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):
                # glibc keeps what was freed in pieces; it may be a second model's worth.
                ctypes.CDLL(None).malloc_trim(0)

    def fingerprint(self, sources: Mapping[ModelName, ModelSource]) -> object:
        """Of every file of the checkpoints: which it is, how large, and when it was written."""
        found = []
        for source in sources.values():
            for path in sorted(_files(Path(source.name))):
                with contextlib.suppress(OSError):
                    told = path.stat()
                    found.append((str(path), told.st_ino, told.st_size, told.st_mtime_ns))
        return tuple(found)

    def _require_memory(self, sources: Mapping[ModelName, ModelSource]) -> None:
        needed = self._needed_bytes(sources)
        free = _free_bytes(self._settings.device)
        if free is not None and needed > free:
            raise SwapRefused(
                "not_enough_memory",
                f"The models take some {needed / 2**30:.2f} GiB while they are loaded, and "
                f"{free / 2**30:.2f} GiB are free beside those that serve; give the service more "
                "memory, or restart it with the new model.",
                503,
            )

    def _needed_bytes(self, sources: Mapping[ModelName, ModelSource]) -> int:
        """What all of them take; a directory that several are read from counts once."""
        directories: set[Path] = set()
        for source in sources.values():
            directory = Path(source.name)
            base = _read(directory / ADAPTER_CONFIG).get("base_model_name_or_path")
            directories |= {directory, *([Path(base)] if isinstance(base, str) else [])}
        wanted = _BYTES.get(self._settings.dtype, 2 if _is_cuda(self._settings.device) else 4)
        if not _is_cuda(self._settings.device):
            wanted = 4  # what is reduced there is loaded in float32 first
        total = sum(_weight_bytes(directory, wanted) for directory in directories)
        return _LEAST_BYTES + int(MARGIN * total)


def _weight_bytes(directory: Path, wanted: int) -> int:
    config = _read(directory / "config.json")
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    size = sum(
        path.stat().st_size for path in _files(directory) if path.name.endswith(".safetensors")
    )
    return size * wanted // _BYTES.get(stored.removeprefix("torch."), 4)


def _files(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in directory.iterdir() if path.is_file())


def _read(path: Path) -> dict[str, Any]:
    """A small JSON object; empty where it can't be read, which loading will say."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_cuda(device: str) -> bool:
    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def _free_bytes(device: str) -> int | None:
    """What may be taken now where the models run; None where nobody tells."""
    if _is_cuda(device):
        where = torch.device("cuda" if device == "auto" else device)
        free, _ = torch.cuda.mem_get_info(where)
        return free + torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
    told = [_meminfo("MemAvailable"), _free_in_container()]
    known = [value for value in told if value is not None]
    return min(known) if known else None


def _meminfo(name: str) -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return int(dict(line.split(":", 1) for line in lines)[name].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a container's limit leaves, its page cache counted as free; None without a limit."""
    try:
        limit = int((group / "memory.max").read_text("ascii"))
        used = int((group / "memory.current").read_text("ascii"))
        lines = (group / "memory.stat").read_text("ascii").splitlines()
        cached = int(dict(line.split() for line in lines)["inactive_file"])
    except (OSError, KeyError, ValueError):  # "max": there is none
        return None
    return limit - used + cached
