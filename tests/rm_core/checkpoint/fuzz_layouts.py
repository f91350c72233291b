"""Serve layouts drawn at random: equal to the arithmetic in memory, or refused by name.

`python -m tests.rm_core.checkpoint.fuzz_layouts 5000` draws 5000 of them (about 80 ms each); a
second number is the seed to begin with.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rm_core.engine.engine import load_engine
from rm_core.errors import RewardError
from rm_core.types import Dialogue
from tests.rewards import own_rewards
from tests.rm_core.checkpoint.layouts import TEXTS, Layout, drawn_layout, rewards, write

TOLERANCE = 1e-5


def complaint(layout: Layout, directory: Path) -> str | None:
    """What is wrong with how a layout is served; None for nothing."""
    told = f"{layout.config['model_type']} with {', '.join(layout.changes)}"
    name = str(write(layout, directory))
    try:
        engine = load_engine({"safety": name})
    except RewardError as error:
        message = str(error)
        if "\n" in message:
            return f"{told}: refused in more than a sentence: {message}"
        if not any(word in message.replace(name, "") for word in layout.refused):
            return f"{told}: refused for something else than {layout.refused}: {message}"
        return None
    except Exception as error:
        return f"{told}: {type(error).__name__} is raised: {error}"
    if layout.refused:
        return f"{told}: served in spite of {layout.refused}"
    items = [engine.encode(Dialogue(*text)) for text in TEXTS]
    found = [own["safety"] for own in own_rewards(engine, items)]
    worst = max(abs(one - other) for one, other in zip(found, rewards(layout), strict=True))
    return None if worst <= TOLERANCE else f"{told}: unequal by {worst:.1e}"


def main(count: int, first: int = 0) -> int:
    """Draw many, say what is wrong, and how many were refused."""
    wrong = 0
    for seed in range(first, first + count):
        with TemporaryDirectory() as directory:
            found = complaint(drawn_layout(seed), Path(directory) / "model")
        if found is not None:
            wrong += 1
            print(f"seed {seed}: {found}", flush=True)  # noqa: T201 - a command of its own
    print(f"{count} layouts, {wrong} of them wrong")  # noqa: T201
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
