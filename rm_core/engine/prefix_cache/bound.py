"""How much a prefix cache may take where nobody says."""

import os
from pathlib import Path

DEFAULT_MOST_BYTES = 2**30
DEFAULT_SHARE = 0.05
"""Of the memory that is free at loading, on the CPU."""


def prefix_cache_bytes(asked: int | None, device: str) -> int:
    """The bound of all prefix caches of an engine together.

    Args:
        asked: what a caller set; None for the default.
        device: "cpu" or "cuda", whose packs may need all of the device.
    """
    if asked is not None:
        return asked
    if device != "cpu":
        return 0
    return min(DEFAULT_MOST_BYTES, int(DEFAULT_SHARE * _available_bytes()))


def _available_bytes() -> int:
    """Memory that can be had without swapping; what the machine has where it doesn't tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines)
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
