"""Which pairs count, in training and in evaluation."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rm_core.types import Encoded, Role
from training.data.examples import Example, Pair, example_of, num_ties
from training.data.records import PreferenceRecord

Objection = Literal[
    "identical", "identical_after_truncation", "unsafe_chosen", "duplicate", "swapped_duplicate"
]


class PairFilter:
    """Tells which pairs must not count, and remembers across examples those that do.

    Args:
        role: of the model that is trained; the safety role objects to a chosen response that is
            unsafe where the rejected one is safe. None: labels are not looked at.
        keeps_contradictions: count a pair also where one of the opposite preference was seen, as
            no model can have both right.
    """

    def __init__(self, role: Role | None = None, *, keeps_contradictions: bool = False) -> None:
        self._role = role
        self._keeps_contradictions = keeps_contradictions
        self._seen: set[tuple[str, str, str]] = set()

    def objection(
        self, example: Example, pair: Pair, encoded: Sequence[Encoded | None] = ()
    ) -> Objection | None:
        """Why a pair must not count; None where nothing speaks against it.

        Args:
            example: whose pair it is.
            pair: two of its responses.
            encoded: all of its responses, if their token ids are to be looked at.
        """
        chosen, rejected = example.responses[pair.chosen], example.responses[pair.rejected]
        if chosen.strip() == rejected.strip():
            return "identical"
        if encoded and _ids(encoded[pair.chosen]) == _ids(encoded[pair.rejected]):
            return "identical_after_truncation"
        if (
            self._role == "safety"
            and example.is_safe[pair.chosen] is False
            and example.is_safe[pair.rejected] is True
        ):
            return "unsafe_chosen"
        key = example.prompt_key
        if (key, chosen, rejected) in self._seen:
            return "duplicate"
        if not self._keeps_contradictions and (key, rejected, chosen) in self._seen:
            return "swapped_duplicate"
        self._seen.add((key, chosen, rejected))
        return None


@dataclass(frozen=True, slots=True)
class FilteredExamples:
    """Examples to be evaluated on, and the account of what did not become part of one.

    Attributes:
        examples: in the records' order.
        tied_pairs: pairs of responses that people held for equal.
        left_out: how many responses or pairs were left out, by reason.
    """

    examples: tuple[Example, ...]
    tied_pairs: int
    left_out: Mapping[str, int]


def filtered_examples(records: Iterable[PreferenceRecord]) -> FilteredExamples:
    """Records as examples without what can't be evaluated on.

    Left out are responses without text, pairs of equal responses, and pairs that another record has
    already in the same order; contradictions stay.

    Args:
        records: also those of one response, for their labels, ratings and steps.
    """
    examples: list[Example] = []
    left_out: Counter[str] = Counter()
    ties = 0
    pair_filter = PairFilter(keeps_contradictions=True)
    for whole in map(example_of, records):
        ties += num_ties(whole)
        written = [index for index, text in enumerate(whole.responses) if text.strip()]
        left_out["empty_response"] += len(whole.responses) - len(written)
        pairs = []
        for pair in whole.pairs:
            objection = pair_filter.objection(whole, pair)
            if objection is None:
                pairs.append(pair)
            else:
                left_out[f"{objection}_pair"] += 1
        if written:
            examples.append(replace(whole, pairs=tuple(pairs)).only(written))
    return FilteredExamples(tuple(examples), ties, {k: n for k, n in sorted(left_out.items()) if n})


def _ids(encoded: Encoded | None) -> Sequence[int]:
    return encoded.input_ids if encoded else ()
