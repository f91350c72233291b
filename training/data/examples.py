"""What is trained and evaluated on: a prompt's responses and their labels, as text and encoded."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from math import comb
from typing import Any, Self

from rm_core.types import Encoded, Message
from training.data.margins import MARGINS
from training.data.records import PreferenceRecord, StepLabel
from training.types import Margins, Strength


@dataclass(frozen=True, slots=True)
class Pair:
    """One strict preference inside an example.

    Attributes:
        chosen: index of the preferred response.
        rejected: index of the other one.
        margin: gap that the loss asks for, in reward units.
        strength: the grade that the margin came from; None where none was given.
    """

    chosen: int
    rejected: int
    margin: float = 0.0
    strength: Strength | None = None


@dataclass(frozen=True, slots=True)
class StepTarget:
    """One labelled step of a response, where it is read.

    Attributes:
        position: of the step's last token, an index into the response's token ids.
        label: 1 good, 0 bad.
    """

    position: int
    label: float


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt's responses and what people said of them, as text.

    All but `pairs` and `tags` is parallel to `responses`; labels left out are unknown for each.

    Attributes:
        id: the record's id.
        prompt_key: hash of the normalised prompt; what splits and resampling go by.
        prompt: as a model reads it.
        responses: as text.
        pairs: strict preferences between them, perhaps none.
        ranking: 0 is best, equal ranks tie; None where they are not to be read as one ranking.
        ratings: None where nobody rated.
        is_safe: None where nobody said.
        steps: labelled steps, empty where there are none.
        tags: the prompt's.
        source: where it comes from.
        token_ids: whole texts as token ids, where the data came so.
    """

    id: str
    prompt_key: str
    prompt: str | tuple[Message, ...]
    responses: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    ranking: tuple[int, ...] | None = None
    ratings: tuple[float | None, ...] = ()
    is_safe: tuple[bool | None, ...] = ()
    steps: tuple[tuple[StepLabel, ...], ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    token_ids: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Fill labels that were left out."""
        for name, unknown in (("ratings", None), ("is_safe", None), ("steps", ())):
            if not getattr(self, name):
                object.__setattr__(self, name, (unknown,) * len(self.responses))

    def only(self, keep: Sequence[int]) -> Self:
        """The example with some of its responses.

        Args:
            keep: their indices, ascending.
        """
        if len(keep) == len(self.responses):
            return self
        place = {index: position for position, index in enumerate(keep)}
        return replace(
            self,
            responses=_at(self.responses, keep),
            pairs=tuple(
                replace(pair, chosen=place[pair.chosen], rejected=place[pair.rejected])
                for pair in self.pairs
                if pair.chosen in place and pair.rejected in place
            ),
            ranking=None if self.ranking is None else _at(self.ranking, keep),
            ratings=_at(self.ratings, keep),
            is_safe=_at(self.is_safe, keep),
            steps=_at(self.steps, keep),
            token_ids=None if self.token_ids is None else _at(self.token_ids, keep),
        )


@dataclass(frozen=True, slots=True)
class EncodedExample(Example):
    """An example as a model reads it.

    Attributes:
        encoded: token ids of each response with its prompt.
        step_targets: where the labelled steps of each response are read; empty where nobody
            labelled any.
    """

    encoded: tuple[Encoded, ...] = ()
    step_targets: tuple[tuple[StepTarget, ...], ...] = ()

    @classmethod
    def of(
        cls,
        example: Example,
        encoded: tuple[Encoded, ...],
        step_targets: tuple[tuple[StepTarget, ...], ...],
    ) -> Self:
        """The example with its token ids, all parallel to its responses."""
        of_text = {field.name: getattr(example, field.name) for field in fields(Example)}
        return cls(**of_text, encoded=encoded, step_targets=step_targets)

    @property
    def num_tokens(self) -> int:
        """Tokens of the longest response with its prompt: what padding goes by."""
        return max(encoded.num_tokens for encoded in self.encoded)

    def without_labels(self) -> Self:
        """The same texts with nothing to learn from: no loss counts them.

        A process whose share of an epoch ends early runs it while the others finish theirs.
        """
        return replace(
            self, pairs=(), ranking=None, ratings=(), is_safe=(), steps=(), step_targets=()
        )

    @property
    def has_targets(self) -> bool:
        """Whether there is anything to learn from."""
        labels = (*self.is_safe, *self.ratings)
        return (
            bool(self.pairs) or any(self.step_targets) or any(label is not None for label in labels)
        )


def example_of(record: PreferenceRecord, margins: Margins = MARGINS["none"]) -> Example:
    """A record with every strict preference between its responses."""
    return Example(
        id=record.id,
        prompt_key=prompt_key(record.prompt),
        prompt=record.prompt,
        responses=record.responses,
        pairs=tuple(strict_pairs(record, margins)),
        ranking=record.ranking,
        ratings=record.ratings or (),
        is_safe=record.is_safe or (),
        steps=record.steps or (),
        tags=record.tags,
        source=record.source,
        token_ids=record.token_ids,
    )


def strict_pairs(record: PreferenceRecord, margins: Margins) -> Iterator[Pair]:
    """Every pair of a record's responses of which one is better.

    A grade of strength, and an explicit margin, speak of two responses; inside a longer ranking
    nobody said by how much, so its pairs get margin 0.
    """
    strength = record.strength if len(record.responses) == 2 else None
    margin = margins[strength] if strength else 0.0
    if record.margin is not None:
        margin = record.margin
    for left, right in combinations(range(len(record.responses)), 2):
        if record.ranking[left] < record.ranking[right]:
            yield Pair(left, right, margin, strength)
        elif record.ranking[left] > record.ranking[right]:
            yield Pair(right, left, margin, strength)


def num_ties(example: Example) -> int:
    """Pairs of equal rank of an example that has all its strict pairs."""
    return comb(len(example.responses), 2) - len(example.pairs)


def prompt_text(prompt: str | tuple[Message, ...]) -> str:
    """A prompt as plain text; one user message reads like the bare string."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def prompt_key(prompt: str | tuple[Message, ...]) -> str:
    """Hash of a prompt without regard to case and white space, hex.

    Two prompts with one key count as the same prompt, so they never stand on both sides of a split.
    """
    normalised = " ".join(prompt_text(prompt).casefold().split())
    return hashlib.sha256(normalised.encode(errors="surrogatepass")).hexdigest()[:32]


def _at(values: tuple[Any, ...], keep: Sequence[int]) -> tuple[Any, ...]:
    return tuple(values[index] for index in keep)
