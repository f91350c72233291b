"""What is evaluated on: prompts with their responses, and what people said of them.

Rewards stand beside cases, never in them: one list of cases serves every model, and rewards are
one sequence per case with one number per response.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from rm_core.types import Message
from training.data.examples import Comparison, Pair, ordered_pairs, prompt_key
from training.data.records import PreferenceRecord, StepLabel
from training.statistics.intervals import Floats
from training.types import STRENGTHS, Strength

Rewards = Sequence[Sequence[float]]
"""One sequence per case, one reward per response."""

_NO_MARGINS: Mapping[Strength, float] = dict.fromkeys(STRENGTHS, 0.0)


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt's responses and the rewards of people; everything is parallel to `responses`.

    Attributes:
        id: the record's id.
        prompt_key: hash of the normalised prompt; what resampling goes by.
        prompt: as a model reads it.
        responses: as text.
        pairs: strict preferences among them, perhaps none.
        ranking: 0 is best, equal ranks tie; None where the responses were not ranked.
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
    pairs: tuple[Pair, ...]
    ranking: tuple[int, ...] | None
    ratings: tuple[float | None, ...]
    is_safe: tuple[bool | None, ...]
    steps: tuple[tuple[StepLabel, ...], ...]
    tags: tuple[str, ...] = ()
    source: str = ""
    token_ids: tuple[tuple[int, ...], ...] | None = None

    def only(self, keep: Sequence[int]) -> "Case":
        """The case with some of its responses.

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
class BuiltCases:
    """Cases, and the account of what did not become part of one.

    Attributes:
        cases: in the records' order.
        tied_pairs: pairs of responses that people held for equal.
        left_out: how many responses or pairs were left out, by reason.
    """

    cases: tuple[Case, ...]
    tied_pairs: int
    left_out: Mapping[str, int]


def build_cases(records: Iterable[PreferenceRecord]) -> BuiltCases:
    """Records as cases.

    Left out are responses without text, pairs of equal responses, and pairs that another record has
    already (in the same order; contradictions stay, as no model can have both right).

    Args:
        records: also those of one response, for their labels, ratings and steps.
    """
    cases: list[Case] = []
    left_out: Counter[str] = Counter()
    ties = 0
    seen: set[tuple[str, str, str]] = set()
    for record in records:
        key = prompt_key(record.prompt)
        written = [index for index, text in enumerate(record.responses) if text.strip()]
        left_out["empty_response"] += len(record.responses) - len(written)
        pairs = []
        for pair in ordered_pairs(record, _NO_MARGINS):
            if pair is None:
                ties += 1
                continue
            chosen, rejected = record.responses[pair.chosen], record.responses[pair.rejected]
            if chosen.strip() == rejected.strip():
                left_out["identical_pair"] += 1
            elif (key, chosen, rejected) in seen:
                left_out["duplicate_pair"] += 1
            else:
                seen.add((key, chosen, rejected))
                pairs.append(pair)
        if written:
            cases.append(_case(record, key, pairs).only(written))
    return BuiltCases(tuple(cases), ties, {k: n for k, n in sorted(left_out.items()) if n})


def case_of_comparison(comparison: Comparison) -> Case:
    """A comparison of training as a case, without what training doesn't keep of the record."""
    count = len(comparison.responses)
    return Case(
        id=comparison.id,
        prompt_key=comparison.prompt_key,
        prompt=comparison.prompt,
        responses=comparison.responses,
        pairs=comparison.pairs,
        ranking=comparison.ranks or None,
        ratings=comparison.ratings or (None,) * count,
        is_safe=comparison.is_safe,
        steps=((),) * count,
        tags=comparison.tags,
    )


class Paired(Protocol):
    """Anything with pairs of one prompt: a `Case`, a `Comparison`."""

    @property
    def prompt_key(self) -> str:
        """Hash of the prompt."""
        ...

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Strict preferences between its responses."""
        ...


class PairTable(NamedTuple):
    """All pairs of all cases in a row.

    Attributes:
        gap: reward of the chosen less that of the rejected, (pairs,).
        keys: each pair's prompt.
        owners: index of each pair's case, (pairs,), int.
        pairs: the pairs themselves.
    """

    gap: Floats
    keys: list[str]
    owners: "np.ndarray[Any, np.dtype[np.int64]]"
    pairs: list[Pair]


def pair_table(cases: Sequence[Paired], rewards: Rewards) -> PairTable:
    """The pairs of cases with their reward gaps.

    Args:
        cases: perhaps without any pair.
        rewards: finite.
    """
    gaps: list[float] = []
    keys: list[str] = []
    owners: list[int] = []
    pairs: list[Pair] = []
    for index, (case, given) in enumerate(zip(cases, rewards, strict=True)):
        for pair in case.pairs:
            gaps.append(given[pair.chosen] - given[pair.rejected])
            keys.append(case.prompt_key)
            owners.append(index)
            pairs.append(pair)
    return PairTable(
        np.array(gaps, dtype=np.float64), keys, np.array(owners, dtype=np.int64), pairs
    )


def labelled(
    cases: Sequence[Case],
    rewards: Rewards,
    label_of: Callable[[Case, int], float | None],
) -> tuple[Floats, Floats, list[str]]:
    """Rewards, labels and prompts of all responses that have a label.

    Args:
        cases: the cases.
        rewards: finite.
        label_of: the label of a case's response by its index; None for none.
    """
    found = [
        (reward, label, case.prompt_key)
        for case, given in zip(cases, rewards, strict=True)
        for index, reward in enumerate(given)
        if (label := label_of(case, index)) is not None
    ]
    values = np.array([(reward, label) for reward, label, _ in found], dtype=np.float64)
    columns = values.reshape(-1, 2)
    return columns[:, 0], columns[:, 1], [key for *_, key in found]


def length_of(text: str) -> int:
    """A response's length in characters: the same for every model, whatever its tokenizer."""
    return len(text)


def _case(record: PreferenceRecord, key: str, pairs: Sequence[Pair]) -> Case:
    count = len(record.responses)
    return Case(
        id=record.id,
        prompt_key=key,
        prompt=record.prompt,
        responses=record.responses,
        pairs=tuple(pairs),
        ranking=record.ranking,
        ratings=record.ratings or (None,) * count,
        is_safe=record.is_safe or (None,) * count,
        steps=record.steps or ((),) * count,
        tags=record.tags,
        source=record.source,
        token_ids=record.token_ids,
    )


def _at(values: tuple[Any, ...], keep: Sequence[int]) -> tuple[Any, ...]:
    return tuple(values[index] for index in keep)
