"""Builds comparisons from records, and notes whatever of a record can't be used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rm_core.errors import DetailUnavailable, EmptyText, InputError, InputTooLong
from rm_core.types import Dialogue, Encoded, RewardInput, TokenIds, Truncation
from training.data.examples import (
    Comparison,
    Pair,
    StepTarget,
    ordered_pairs,
    prompt_key,
    prompt_text,
)
from training.data.formats.token_ids import common_ids
from training.data.margins import margins_of
from training.data.options import DataOptions
from training.data.records import PreferenceRecord, StepLabel, ranking_from_scores
from training.data.report import Dropped
from training.types import Target

_ABOUT_PAIRS: frozenset[Target] = frozenset({"pairs", "rankings", "tokens"})


class DialogueEncoder(Protocol):
    """What turns texts into token ids: `rm_core.text.encoder.TextEncoder`."""

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> Encoded:
        """Token ids of a text; raises `InputError` where it has none."""
        ...


class ComparisonBuilder:
    """Encodes records and drops what can't be used; remembers pairs across records.

    Args:
        encoder: the model's position contract.
        options: what to keep.
        dropped: told of everything that is left out.
    """

    def __init__(self, encoder: DialogueEncoder, options: DataOptions, dropped: Dropped) -> None:
        self._encoder = encoder
        self._options = options
        self._dropped = dropped
        self._margins = margins_of(options.margins)
        self._seen: set[tuple[str, str, str]] = set()
        self.ties = 0

    def build(
        self, records: Sequence[PreferenceRecord], targets: frozenset[Target]
    ) -> tuple[Comparison, ...]:
        """Comparisons of those records that have anything for the targets.

        Args:
            records: of one side of the split.
            targets: what is looked at on that side.
        """
        built = (self._comparison(record, targets) for record in records)
        return tuple(comparison for comparison in built if comparison is not None)

    def _comparison(
        self, record: PreferenceRecord, targets: frozenset[Target]
    ) -> Comparison | None:
        text = prompt_text(record.prompt)
        if not text.strip():
            self._dropped.add("empty", record.id)
            return None
        known = _Known.of(record, targets)
        responses = [
            self._encode(record, index, known.steps[index]) for index in range(len(known.is_safe))
        ]
        pairs, in_order = self._pairs(record, known, responses)
        used = _used(pairs, in_order, known, responses, targets)
        if not used:
            if len(record.responses) == 1 and responses[0] is not None:
                self._dropped.add("single_response", record.id)
            elif pairs:
                self._dropped.add("no_target", record.id)
            return None
        ranks = ranking_from_scores([-record.ranking[i] for i in used]) if in_order else ()
        place = {index: position for position, index in enumerate(used)}
        kept = [response for i in used if (response := responses[i]) is not None]
        return Comparison(
            id=record.id,
            prompt_key=prompt_key(record.prompt),
            prompt=text,
            responses=tuple(record.responses[index] for index in used),
            encoded=tuple(response.encoded for response in kept),
            pairs=tuple(
                replace(pair, chosen=place[pair.chosen], rejected=place[pair.rejected])
                for pair in pairs
                if pair.chosen in place and pair.rejected in place
            ),
            is_safe=tuple(known.is_safe[index] for index in used),
            tags=record.tags,
            source=record.source,
            ranks=ranks,
            ratings=_unless_empty(tuple(known.ratings[index] for index in used)),
            steps=tuple(response.steps for response in kept)
            if any(response.steps for response in kept)
            else (),
        )

    def _encode(
        self, record: PreferenceRecord, index: int, steps: Sequence[StepLabel]
    ) -> "_Response | None":
        """A response's token ids, and where its steps are read; None and a note if it can't be."""
        dialogue = Dialogue(record.prompt, record.responses[index])
        try:
            if record.token_ids is None:
                encoded = self._encoder.encode(dialogue, truncate=self._options.truncate)
            else:
                encoded = encoded_ids(self._encoder, record.token_ids, index)
        except EmptyText:
            self._dropped.add("empty", record.id)
        except InputTooLong:
            self._dropped.add("over_long", record.id)
        except InputError:
            self._dropped.add("unencodable", record.id)
        else:
            if self._options.head != "mean" or encoded.num_prompt_tokens is not None:
                # Steps are told by characters, which a text that came as token ids has not.
                by_text = steps if record.token_ids is None else ()
                return _Response(encoded, self._step_targets(record.id, dialogue, by_text))
            self._dropped.add("no_border", record.id)
        return None

    def _step_targets(
        self, record_id: str, dialogue: Dialogue, steps: Sequence[StepLabel]
    ) -> tuple[StepTarget, ...]:
        if not steps:
            return ()
        read_at = tuple(step.end for step in steps)
        try:
            encoded = self._encoder.encode(
                replace(dialogue, read_at=read_at), truncate=self._options.truncate
            )
        except DetailUnavailable:
            self._dropped.add("unreadable_steps", record_id)
            return ()
        return tuple(
            StepTarget(place.position, step.label)
            for place, step in zip(encoded.extra_positions, steps, strict=True)
        )

    def _pairs(
        self,
        record: PreferenceRecord,
        known: "_Known",
        responses: Sequence["_Response | None"],
    ) -> tuple[list[Pair], bool]:
        """Pairs without objection, and whether the record's order holds as a whole.

        It holds also where a pair was seen before; it does not where a pair of it must not be
        learned, as any objective over the whole order would learn that pair as well.
        """
        pairs: list[Pair] = []
        in_order = True
        for pair in ordered_pairs(record, self._margins):
            if pair is None:
                self.ties += 1
                continue
            chosen, rejected = responses[pair.chosen], responses[pair.rejected]
            if chosen is None or rejected is None:
                continue
            reason = self._objection(record, pair, chosen.encoded, rejected.encoded, known)
            if reason is None:
                pairs.append(pair)
            else:
                self._dropped.add(reason, record.id)
                in_order = in_order and reason == "duplicate"
        return pairs, in_order and bool(pairs)

    def _objection(
        self,
        record: PreferenceRecord,
        pair: Pair,
        own: Encoded,
        other: Encoded,
        known: "_Known",
    ) -> str | None:
        """Why a pair of encoded responses must not be used; None where nothing speaks against."""
        chosen, rejected = record.responses[pair.chosen], record.responses[pair.rejected]
        if chosen.strip() == rejected.strip():
            return "identical"
        if own.input_ids == other.input_ids:
            return "identical_after_truncation"
        if (
            self._options.role == "safety"
            and known.is_safe[pair.chosen] is False
            and known.is_safe[pair.rejected] is True
        ):
            return "unsafe_chosen"
        key = prompt_key(record.prompt)
        if (key, chosen, rejected) in self._seen:
            return "duplicate"
        if (key, rejected, chosen) in self._seen:
            return "swapped_duplicate"
        self._seen.add((key, chosen, rejected))
        return None


def encoded_ids(encoder: DialogueEncoder, texts: Sequence[Sequence[int]], index: int) -> Encoded:
    """A text that came as token ids, read as it stands; never cut, as its prompt is not known.

    Args:
        encoder: the model's position contract, of which only the reading rule applies.
        texts: ids of all texts of one prompt; what they begin with counts as it.
        index: of the text.

    Raises:
        InputTooLong: more tokens than the model reads.
        InputError: an id that the model's tokenizer does not have.
    """
    encoded = encoder.encode(TokenIds(tuple(texts[index])), truncate="error")
    return replace(encoded, num_prompt_tokens=common_ids(texts))


@dataclass(frozen=True, slots=True)
class _Response:
    encoded: Encoded
    steps: tuple[StepTarget, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of each response by itself, as far as it is looked at."""

    is_safe: Sequence[bool | None]
    ratings: Sequence[float | None]
    steps: Sequence[Sequence[StepLabel]]

    @classmethod
    def of(cls, record: PreferenceRecord, targets: frozenset[Target]) -> "_Known":
        count = len(record.responses)
        return cls(
            record.is_safe or (None,) * count,
            (record.ratings if "ratings" in targets else None) or (None,) * count,
            (record.steps if "steps" in targets else None) or ((),) * count,
        )


def _used(
    pairs: Sequence[Pair],
    in_order: bool,
    known: _Known,
    responses: Sequence[_Response | None],
    targets: frozenset[Target],
) -> list[int]:
    """The responses of which there is something to look at, so that none runs for nothing."""
    used: set[int] = set()
    if targets & _ABOUT_PAIRS and (in_order or targets & {"pairs", "tokens"}):
        used |= {index for pair in pairs for index in (pair.chosen, pair.rejected)}
    for index, response in enumerate(responses):
        if response is not None and (
            known.ratings[index] is not None
            or response.steps
            or ("is_safe" in targets and known.is_safe[index] is not None)
        ):
            used.add(index)
    return sorted(used)


def _unless_empty(ratings: tuple[float | None, ...]) -> tuple[float | None, ...]:
    return ratings if any(rating is not None for rating in ratings) else ()
