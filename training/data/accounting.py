"""What became of rows and sources before training saw them: values that the data report shows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that is not what its format promises.

    Attributes:
        where: file and line, "data.jsonl:12".
        problem: what is wrong, without the row's text.
    """

    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class DrawnPart:
    """One part of a mixture: sources that are drawn from as one.

    Attributes:
        name: what the mixture calls it.
        places: its sources, as they were written.
        wanted: the share of the mixture's training records that it was to have.
        available: training records that it could give.
        drawn: training records that it gave.
        share: drawn, as a share of all that were drawn.
    """

    name: str
    places: tuple[str, ...]
    wanted: float
    available: int
    drawn: int
    share: float


@dataclass(frozen=True, slots=True)
class MixtureCounts:
    """What a mixture drew from the train side; the held-out side is never drawn from.

    Attributes:
        name: the recipe's name, or "weights".
        seed: of the draw.
        parts: the parts in order.
    """

    name: str
    seed: int
    parts: tuple[DrawnPart, ...]
