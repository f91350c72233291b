"""`golden_rewards.json`: what a checkpoint's own maker saw it give to a few texts.

Whoever publishes a reward model writes them beside its weights, and whoever loads it compares: the
same bytes that give other rewards are run otherwise than they were made.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rm_core.checkpoint.json_files import read_object
from rm_core.errors import CheckpointError

GOLDEN_NAME = "golden_rewards.json"
MAX_GOLDEN = 64


@dataclass(frozen=True, slots=True)
class GoldenReward:
    """A raw reward that a checkpoint must give again.

    Attributes:
        prompt: of the text.
        response: to it.
        reward: raw, as its maker computed it.
    """

    prompt: str
    response: str
    reward: float


def write_golden(directory: Path, rewards: Sequence[GoldenReward]) -> None:
    """Write golden_rewards.json, before the manifest, which has its digest; nothing for none."""
    if rewards:
        value = {"rewards": [asdict(one) for one in rewards]}
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (directory / GOLDEN_NAME).write_text(text, encoding="utf-8")


def read_golden(directory: Path) -> tuple[GoldenReward, ...]:
    """A checkpoint's golden rewards; none where nobody wrote any.

    Raises:
        CheckpointError: the file can't be used.
    """
    path = directory / GOLDEN_NAME
    if not path.is_file():
        return ()
    rows = read_object(path).get("rewards")
    found = tuple(map(_read, rows)) if isinstance(rows, list) else ()
    if None in found or not 0 < len(found) <= MAX_GOLDEN:
        raise CheckpointError(
            f"{path} must hold 1 to {MAX_GOLDEN} `rewards`, each of a prompt, a response and a "
            "finite reward; fetch the checkpoint again, or remove the file"
        )
    return tuple(one for one in found if one is not None)


def _read(row: object) -> GoldenReward | None:
    match row:
        case {"prompt": str(prompt), "response": str(response), "reward": float(reward)}:
            return GoldenReward(prompt, response, reward) if math.isfinite(reward) else None
        case _:
            return None
