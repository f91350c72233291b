"""Choices of products of earlier loadings, in a file of the user's cache.

The file is a convenience and never trusted: what can't be read, or names what we don't know, counts
as nothing, and what can't be written is chosen again next time.
"""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rm_core.engine.trunk.products.table import ProductTable, libraries_of
from rm_core.engine.trunk.products.timing import CHUNK_ROWS

MOST_ENTRIES = 256
"""Choices that a file keeps, the latest."""

_MOST_BYTES = 2**20
_CPUINFO = Path("/proc/cpuinfo")


def choice_key(linears: Sequence[nn.Linear], rows: int | None) -> str:
    """What a choice depends on, as a digest: processor, torch, threads, shapes and numbers.

    Args:
        linears: that were timed.
        rows: of a chunk, as they suit the cache; None where the trunk is not run in chunks.
    """
    shapes = sorted({(tuple(each.weight.shape), str(each.weight.dtype)) for each in linears})
    parts = [*_processor(), torch.__version__, torch.get_num_threads(), shapes, rows]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def remembered_table(file: Path, key: str) -> ProductTable | None:
    """The choice of an earlier loading; None where the file tells none."""
    found = _entries(file).get(key)
    if not isinstance(found, dict) or not isinstance(found.get("libraries"), list):
        return None
    libraries, rows = libraries_of(found["libraries"]), found.get("chunk_rows")
    if libraries is None or not (rows is None or (type(rows) is int and _is_chunk(rows))):
        return None
    return ProductTable(libraries, rows)


def remember_table(file: Path, key: str, table: ProductTable) -> None:
    """Keep a choice beside the others, in one step; without effect where that can't be."""
    entries = _entries(file)
    entries.pop(key, None)
    entries[key] = {"libraries": list(table.libraries), "chunk_rows": table.chunk_rows}
    latest = dict(list(entries.items())[-MOST_ENTRIES:])
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w") as written:
                json.dump(latest, written)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _is_chunk(rows: int) -> bool:
    return 1 <= rows <= max(CHUNK_ROWS)


def _entries(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stored:
            found = json.loads(stored.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _processor() -> list[str]:
    """What tells the processor and its abilities, as far as the system says."""
    with suppress(OSError):
        lines = _CPUINFO.read_text().splitlines()
        told = (line for line in lines if line.startswith(("model name", "flags", "CPU part")))
        found = list(dict.fromkeys(told))
        if found:
            return found
    return [platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability()]
