"""The rows of an ablation: every combination of margins, objectives and heads that can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from rm_core.checkpoint.manifest import HeadKind
from rm_core.errors import ConfigurationError
from training.config import TrainingConfig
from training.losses import Margins, MarginTable, parse_objectives, reads_margins

_UNREAD = "not read"
"""Margins of a row whose objectives don't look at them."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: what is varied.

    Attributes:
        margins: as in `TrainingConfig`.
        objectives: as in `TrainingConfig`.
        head: as in `TrainingConfig`.
    """

    margins: MarginTable | Margins
    objectives: Mapping[str, float]
    head: HeadKind

    def applied_to(self, config: TrainingConfig, *, seed: int) -> TrainingConfig:
        """The configuration of one training of this row.

        Raises:
            ConfigurationError: these don't go together.
        """
        return replace(
            config, margins=self.margins, objectives=self.objectives, head=self.head, seed=seed
        )

    def words(self) -> dict[str, str]:
        """What is varied, by name."""
        margins = self.margins if isinstance(self.margins, str) else "own table"
        return {
            "margins": margins if reads_margins(self.objectives) else _UNREAD,
            "objective": " + ".join(
                name if weight == 1.0 else f"{weight:g} {name}"
                for name, weight in self.objectives.items()
            ),
            "head": self.head.replace("_", " "),
        }


@dataclass(frozen=True, slots=True)
class Grid:
    """All rows.

    Attributes:
        settings: the rows; the first is what the others are compared with.
        left_out: combinations that can't be trained, with the reason.
    """

    settings: tuple[Setting, ...]
    left_out: tuple[str, ...] = ()

    def labels(self) -> list[str]:
        """A name for each row: only what differs between rows."""
        words = [setting.words() for setting in self.settings]
        varied = [name for name in words[0] if len({each[name] for each in words} - {_UNREAD}) > 1]
        return [", ".join(f"{name}: {each[name]}" for name in varied or each) for each in words]


def make_grid(
    config: TrainingConfig,
    *,
    margins: Sequence[str] = (),
    objectives: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> Grid:
    """Every combination, in the order given, the last varying first.

    Objectives that read no margins make one row, and not one for each table.

    Args:
        config: what stays the same, and what stands where nothing is given.
        margins: names of margin tables.
        objectives: each one a row: "NAME", "NAME=WEIGHT", or several joined by "+".
        heads: names of heads.

    Raises:
        ConfigurationError: a name is unknown, one is given twice, or no combination can be trained.
    """
    sets: list[Mapping[str, float]] = [parse_objectives(text.split("+")) for text in objectives]
    choices: list[Sequence[Any]] = [
        margins or [config.margins],
        sets or [config.objectives],
        heads or [config.head],
    ]
    if any(value in values[:at] for values in choices for at, value in enumerate(values)):
        raise ConfigurationError("a value is given twice; each makes a row")
    settings, left_out = [], []
    for combination in product(*choices):
        setting = Setting(*combination)
        if not reads_margins(setting.objectives) and setting.margins != choices[0][0]:
            continue  # the first table's row says the same
        try:
            setting.applied_to(config, seed=0)
        except ConfigurationError as error:
            left_out.append(f"{', '.join(setting.words().values())}: {error}")
        else:
            settings.append(setting)
    if not settings:
        raise ConfigurationError("nothing to train: " + "; ".join(left_out))
    return Grid(tuple(settings), tuple(left_out))
