"""Records as a model is trained on them: a prompt's encoded responses and their ordered pairs."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from rm_core.types import Encoded, Message
from training.data.records import PreferenceRecord
from training.types import Strength


@dataclass(frozen=True, slots=True)
class Pair:
    """One strict preference inside a comparison.

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
class Comparison:
    """One prompt's responses, each encoded once, and all that is known of them.

    Attributes:
        id: the record's id.
        prompt_key: hash of the normalised prompt; what splits and resampling go by.
        prompt: the prompt as plain text, for the baselines.
        responses: the responses as text.
        encoded: the same as token ids.
        pairs: strict preferences between them; none where they are scored by themselves alone.
        is_safe: labels of the responses, None where unknown.
        tags: the prompt's tags.
        ranks: of the responses, 0 is best, without gaps, equal ranks tie; empty where they are not
            to be read as one ranking.
        ratings: of the responses, None where unknown; empty where nobody rated any.
        steps: labelled steps of each response; empty where nobody labelled any.
        source: the record's.
    """

    id: str
    prompt_key: str
    prompt: str
    responses: tuple[str, ...]
    encoded: tuple[Encoded, ...]
    pairs: tuple[Pair, ...]
    is_safe: tuple[bool | None, ...]
    tags: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    ratings: tuple[float | None, ...] = ()
    steps: tuple[tuple[StepTarget, ...], ...] = ()
    source: str = ""

    @property
    def num_tokens(self) -> int:
        """Tokens of the longest response with its prompt: what padding goes by."""
        return max(encoded.num_tokens for encoded in self.encoded)

    def without_labels(self) -> "Comparison":
        """The same texts with nothing to learn from: no loss counts them.

        A process whose share of an epoch ends early runs it while the others finish theirs.
        """
        unknown = (None,) * len(self.encoded)
        return replace(self, pairs=(), is_safe=unknown, ranks=(), ratings=(), steps=())

    @property
    def has_targets(self) -> bool:
        """Whether there is anything to learn from."""
        labels = (*self.is_safe, *self.ratings)
        return bool(self.pairs) or any(self.steps) or any(label is not None for label in labels)


def ordered_pairs(
    record: PreferenceRecord, margins: Mapping[Strength, float]
) -> Iterator[Pair | None]:
    """Every pair of a record's responses: a `Pair` where one is better, None for a tie.

    A grade of strength, and an explicit margin, speak of two responses; inside a longer ranking
    nobody said by how much, so its pairs get margin 0.

    Args:
        record: the record.
        margins: reward units for each grade.
    """
    graded = len(record.responses) == 2
    strength = record.strength if graded else None
    margin = margins[strength] if strength else 0.0
    if record.margin is not None:
        margin = record.margin
    for left in range(len(record.responses)):
        for right in range(left + 1, len(record.responses)):
            if record.ranking[left] == record.ranking[right]:
                yield None
            elif record.ranking[left] < record.ranking[right]:
                yield Pair(left, right, margin, strength)
            else:
                yield Pair(right, left, margin, strength)


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
