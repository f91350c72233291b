"""Which side of the split a name stands for: train.jsonl, data/test-00000-of-00001.parquet."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from training.types import Split

_TRAIN = re.compile(r"(?:^|[^a-z])train(?:ing)?(?:[^a-z]|$)")
_HELDOUT = re.compile(r"(?:^|[^a-z])(?:test|val|valid|validation|dev|eval|held-?out)(?:[^a-z]|$)")


def split_named(name: str) -> Split | None:
    """The side that a split, a file or a folder of that name belongs to; None: not told.

    Args:
        name: without the folders above it, which may be named by chance.
    """
    lowered = name.lower()
    if _TRAIN.search(lowered):
        return "train"
    return "heldout" if _HELDOUT.search(lowered) else None


def split_of(row: Mapping[str, Any]) -> Split | None:
    """The side that a row's `split` names."""
    split = row.get("split")
    return split_named(split) if isinstance(split, str) else None


def declared_splits(names: Iterable[str]) -> dict[str, Split]:
    """Sides of parts that lie together, by name; empty unless both sides are there.

    A part named "test" alone is data like any other; beside a part named "train" it is the author's
    held-out split.
    """
    sides = {name: side for name in names if (side := split_named(name)) is not None}
    return sides if len(set(sides.values())) == 2 else {}
