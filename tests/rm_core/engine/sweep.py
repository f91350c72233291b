"""Every class for sequence classification of transformers: the way it runs, or why it is refused.

`python -m tests.rm_core.engine.sweep` prints the table, with `--write` it goes into the guide.
"""

import argparse
import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from rm_core.checkpoint.load import RewardModel
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.choose import choose_forward
from rm_core.engine.options import EngineOptions
from rm_core.engine.trunk.room import room_of
from rm_core.engine.trunk.vocabulary import end_token
from rm_core.errors import CheckpointError
from rm_core.types import Encoded, ModelProfile
from tests.rm_core.engine.tiny_models import (
    FIRST_WORD,
    ROOM,
    VOCABULARY,
    classes,
    spread_rewards,
    tiny_config,
    tiny_model,
)

GUIDE = Path(__file__).parents[3] / "docs/guides/models.md"
BEGIN, END = "<!-- the sweep's table begins -->", "<!-- the sweep's table ends -->"
LENGTHS = (40, 37, 40, 70, 9, 12)
SPREAD_AT_LEAST = 0.1
"""Deviation of the rewards of different texts, below which an error might not show."""

REFUSED = "tiny can't be scored: "
CACHE_BYTES = 2**26
UNSERVED = ("refused", "not built")


@dataclass(frozen=True, slots=True)
class Row:
    """One class.

    Attributes:
        name: of the class.
        way: how it is run; "refused", or "not built" where no tiny model can be made.
        difference: largest between a text's reward in any company and alone; None where not run.
        spread: the deviation of the texts' own rewards; None where not run.
        reason: why it goes this way.
        kept: whether keys and values are kept from pack to pack.
    """

    name: str
    way: str
    difference: float | None
    spread: float | None
    reason: str
    kept: bool = False

    def __str__(self) -> str:
        difference = "" if self.difference is None else f"{self.difference:.0e}"
        kept = "yes" if self.kept else ""
        return f"| {self.name} | {self.way} | {kept} | {difference} | {self.reason} |"


def row_of(name: str) -> Row:
    """Run one class's tiny model in companies and compare with each text alone."""
    try:
        config = tiny_config(classes()[name])
        model = tiny_model(config)
    except ImportError as error:
        return Row(name, "not built", None, None, _first_line(error))
    room = room_of(model, ROOM)
    texts = texts_for(model, room)
    try:
        spread_rewards(model, alone(model, texts))
        expected = alone(model, texts)
    except Exception:  # the engine says why
        expected = torch.empty(0)
    profile = ModelProfile("safety", "tiny", "", None, room)
    try:
        forward = choose_forward(
            RewardModel(model, None, profile, None),  # type: ignore[arg-type]
            options=EngineOptions(prefix_cache_bytes=CACHE_BYTES),
        )
    except CheckpointError as error:
        return Row(name, "refused", None, None, _first_line(error).removeprefix(REFUSED))
    worst = max(float((found - expected).abs().max()) for found in companies(forward, texts))
    kept, reason = forward.prefix_cache is not None, forward.reason
    if forward.path == "packed" and forward.shares_prefixes and not kept:
        reason = f"{reason}; nothing kept: {forward.prefix_cache_reason}"
    return Row(name, way_of(forward), worst, float(expected.std()), reason, kept)


def way_of(forward: Forward) -> str:
    """The way in the table's words."""
    if forward.path == "packed":
        return "packed, prefixes shared" if forward.shares_prefixes else "packed"
    return forward.path.replace("_", " ")


def texts_for(model: Any, room: int) -> list[Encoded]:
    """Texts of several lengths, one as long as there is room; two share a prefix."""
    generator = torch.Generator().manual_seed(5)
    end = end_token(model)
    if end == getattr(model.config.get_text_config(), "pad_token_id", None):
        end = None
    rows = []
    for length in (*LENGTHS, room):
        row = torch.randint(FIRST_WORD, VOCABULARY, (length,), generator=generator).tolist()
        rows.append(row if end is None else [*row[:-1], end])
    rows[2][:20] = rows[0][:20]
    if end is not None:
        rows[1][5] = end  # models that read at it have to find the right one
    return [Encoded(tuple(row), len(row) - 1) for row in rows]


def alone(model: Any, texts: list[Encoded]) -> Tensor:
    """Rewards by transformers' own forward of one text, each in a model that ran no other."""
    rewards = []
    for text in texts:
        fresh = copy.deepcopy(model)
        with torch.inference_mode():
            rewards.append(float(fresh(input_ids=torch.tensor([text.input_ids])).logits[0, 0]))
    return torch.tensor(rewards)


def companies(forward: Forward, texts: list[Encoded]) -> list[Tensor]:
    """Rewards of all texts in order: together, in the reverse order, and one after the other.

    What keeps keys and values meets every text three times: cold, then behind what it has kept.
    """
    together = forward.rewards(texts)
    reverse = forward.rewards(texts[::-1])[::-1]
    singly = [forward.rewards([text])[0] for text in sorted(texts, key=lambda t: t.num_tokens)]
    order = sorted(range(len(texts)), key=lambda i: texts[i].num_tokens)
    in_order = [singly[order.index(i)] for i in range(len(texts))]
    return [torch.tensor(rewards)[:, 0] for rewards in (together, reverse, in_order)]


def _first_line(error: Exception) -> str:
    return next(line for line in str(error).splitlines() if line.strip()).strip()


def table(rows: list[Row]) -> str:
    """The guide's table."""
    served = [row for row in rows if row.way not in UNSERVED]
    counts = {way: sum(row.way == way for row in rows) for way in {row.way for row in rows}}
    told = ", ".join(f"{count} {way}" for way, count in sorted(counts.items(), key=_by_count))
    told += f"; {sum(row.kept for row in rows)} keep prefixes"
    lines = [
        f"transformers {transformers.__version__}, {len(rows)} classes: {told}. The largest "
        f"difference of all is {max(row.difference or 0 for row in served):.0e}.",
        "",
        "| class | way | keeps prefixes | difference | why |",
        "|---|---|---|---|---|",
        *map(str, rows),
    ]
    return "\n".join(lines)


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def written_ways() -> dict[str, str]:
    """The way of each class as the guide has it."""
    return {name: way for name, way, *_ in _written()}


def written_keepers() -> set[str]:
    """The classes that keep prefixes by the guide."""
    return {name for name, _, kept, *_ in _written() if kept}


def _written() -> list[list[str]]:
    """The cells of the guide's rows."""
    text = GUIDE.read_text().split(BEGIN)[1].split(END)[0]
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if row[0] != "class"]


def main() -> None:
    """Print the table, or write it into the guide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into the guide")
    parser.add_argument("classes", nargs="*", help="only these; all of them by default")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    rows = [row_of(name) for name in options.classes or classes()]
    if not options.write:
        sys.stdout.write(table(rows) + "\n")
        return
    before, rest = GUIDE.read_text().split(BEGIN)
    GUIDE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
