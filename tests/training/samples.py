"""Made-up preferences for the tests of training."""

import json
from pathlib import Path
from typing import Any

THINGS = ("rivers", "clocks", "bread", "stars", "maps", "violins", "bridges", "letters")
GRADES = ("significantly_better", "better", "slightly_better", "negligibly_better")


def preference_rows(count: int) -> list[dict[str, Any]]:
    """Rows in which kind answers beat rude ones of the same length: learnable, not by length."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        thing = THINGS[number % len(THINGS)]
        kind = f"Gladly: {thing} number {number} are fine, let me explain them."
        rude = f"Go away: {thing} number {number} are dull, I will not say more"
        first = number % 2
        rows.append(
            {
                "id": f"row-{number}",
                "prompt": f"Tell me about {thing}, question {number}.",
                "responses": [rude, kind] if first else [kind, rude],
                "ranking": [1, 0] if first else [0, 1],
                "strength": GRADES[number % 4],
                "is_safe": [False, True] if first else [True, False],
                "is_safety": False,
                "tags": [],
                "split": "heldout" if number % 4 == 3 else "train",
                "source": "test",
            }
        )
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
