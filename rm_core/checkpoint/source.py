"""What of a checkpoint is read: all of it, one of its labels, or its first layers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from rm_core.errors import ConfigurationError

LEAST_TEMPERATURE = 1e-6
"""Of a calibration; its inverse is the largest. Fits on labels and pairs give 0.01 to 100."""

MAX_BIAS = 1e6

LABEL_MARK = "#"
"""Stands between a checkpoint's name and that of a label: `DIRECTORY#verbosity`."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a reward model comes from, and what of it is read.

    Attributes:
        name: a directory, or a name on the hub.
        label: of a checkpoint with several labels the one that is this reward: its name, or its
            number from 0; None for a checkpoint with one.
        layer: how many of its layers are run, from the first, before the final norm and the head;
            None for what its manifest says, which is all of them unless it says otherwise.
        temperature: calibrated reward = raw / temperature + bias; None for the checkpoint's own.
        bias: see temperature.

    Raises:
        ConfigurationError: a layer below 1, or a calibration that is none; see `refuse_absurd`.
    """

    name: str
    label: str | None = None
    layer: int | None = None
    temperature: float | None = None
    bias: float | None = None

    def __post_init__(self) -> None:
        if self.layer is not None and self.layer < 1:
            raise ConfigurationError(
                f"{self.name}: layer {self.layer} can't be read; they count from 1"
            )
        try:
            refuse_absurd(1.0 if self.temperature is None else self.temperature, self.bias or 0.0)
        except ValueError as error:
            raise ConfigurationError(f"{self.name}: {error}") from None

    @classmethod
    def of(cls, given: "str | ModelSource") -> "ModelSource":
        """A source as it is, or as it is written: a name, with `#LABEL` behind it for one label.

        A directory that has the mark in its own name is taken for a directory.
        """
        if isinstance(given, ModelSource):
            return given
        name, mark, label = given.rpartition(LABEL_MARK)
        if not mark or not name or not label or "/" in label or Path(given).is_dir():
            return cls(given)
        return cls(name, label)

    @property
    def told(self) -> str:
        """As it is written: the name, and the label behind it."""
        return self.name if self.label is None else f"{self.name}{LABEL_MARK}{self.label}"


def refuse_absurd(temperature: float, bias: float) -> None:
    """Refuse a calibration that makes of rewards what is no use: all alike, or beyond numbers.

    Raises:
        ValueError: it does.
    """
    if not LEAST_TEMPERATURE <= temperature <= 1 / LEAST_TEMPERATURE:
        raise ValueError(
            f"temperature must be a number from {LEAST_TEMPERATURE:g} to {1 / LEAST_TEMPERATURE:g}"
        )
    if not abs(bias) <= MAX_BIAS:
        raise ValueError(f"bias must be a number of at most {MAX_BIAS:g}, with either sign")


def digest_of_part(digest: str, *, label: int | None, layer: int | None) -> str:
    """The identity of what is read of a checkpoint, hex; that of its weights if it is all of them.

    Args:
        digest: sha256 over the weights, hex.
        label: the number of the label that is read; None: there is one.
        layer: how many layers are run; None: all.
    """
    if label is None and layer is None:
        return digest
    part = f"{digest}\nlabel={label}\nlayer={layer}"
    return hashlib.sha256(part.encode()).hexdigest()
