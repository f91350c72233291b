"""Builds encoded examples from records, and notes whatever of a record can't be used."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from rm_core.errors import DetailUnavailable, EmptyText, InputError, InputTooLong
from rm_core.types import Dialogue, Encoded, RewardInput, TokenIds, Truncation
from training.data.examples import (
    EncodedExample,
    Example,
    Pair,
    StepTarget,
    example_of,
    num_ties,
    prompt_text,
)
from training.data.filters import PairFilter
from training.data.formats.token_ids import common_ids
from training.data.margins import margins_of
from training.data.options import DataOptions
from training.data.records import PreferenceRecord, ranking_from_scores
from training.data.report import Dropped
from training.types import Target

_ABOUT_PAIRS: frozenset[Target] = frozenset({"pairs", "rankings", "tokens"})


class DialogueEncoder(Protocol):
    """What turns texts into token ids: `rm_core.text.encoder.TextEncoder`."""

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> Encoded:
        """Token ids of a text; raises `InputError` where it has none."""
        ...


class ExampleBuilder:
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
        self._filter = PairFilter(options.role)
        self.ties = 0

    def build(
        self, records: Sequence[PreferenceRecord], targets: frozenset[Target]
    ) -> tuple[EncodedExample, ...]:
        """Examples of those records that have anything for the targets."""
        built = (self._built(example_of(record, self._margins), targets) for record in records)
        return tuple(example for example in built if example is not None)

    def _built(self, whole: Example, targets: frozenset[Target]) -> EncodedExample | None:
        if not prompt_text(whole.prompt).strip():
            self._dropped.add("empty", whole.id)
            return None
        self.ties += num_ties(whole)
        known = replace(
            whole,
            ratings=whole.ratings if "ratings" in targets else (),
            steps=whole.steps if "steps" in targets else (),
        )
        encoded = [self._encoded(known, index) for index in range(len(known.responses))]
        steps = [self._step_targets(known, index, encoded[index]) for index in range(len(encoded))]
        example = self._with_pairs(known, encoded)
        used = _used(example, encoded, steps, targets)
        if not used:
            if len(whole.responses) == 1 and encoded[0] is not None:
                self._dropped.add("single_response", whole.id)
            elif example.pairs:
                self._dropped.add("no_target", whole.id)
            return None
        kept = example.only(used)
        if kept.ranking is not None:  # without the gaps of what was left out
            kept = replace(kept, ranking=ranking_from_scores([-rank for rank in kept.ranking]))
        return EncodedExample.of(
            kept,
            tuple(response for index in used if (response := encoded[index]) is not None),
            tuple(steps[index] for index in used) if any(steps[index] for index in used) else (),
        )

    def _encoded(self, example: Example, index: int) -> Encoded | None:
        """A response's token ids; None and a note if it can't be used."""
        dialogue = Dialogue(example.prompt, example.responses[index])
        try:
            if example.token_ids is None:
                encoded = self._encoder.encode(dialogue, truncate=self._options.truncate)
            else:
                encoded = encoded_ids(self._encoder, example.token_ids, index)
        except EmptyText:
            self._dropped.add("empty", example.id)
        except InputTooLong:
            self._dropped.add("over_long", example.id)
        except InputError:
            self._dropped.add("unencodable", example.id)
        else:
            if self._options.head != "mean" or encoded.num_prompt_tokens is not None:
                return encoded
            self._dropped.add("no_border", example.id)
        return None

    def _step_targets(
        self, example: Example, index: int, encoded: Encoded | None
    ) -> tuple[StepTarget, ...]:
        """Where a response's labelled steps are read; ids don't tell where their text ends."""
        steps = example.steps[index]
        if encoded is None or not steps or example.token_ids is not None:
            return ()
        read_at = tuple(step.end for step in steps)
        dialogue = Dialogue(example.prompt, example.responses[index], read_at=read_at)
        try:
            stepped = self._encoder.encode(dialogue, truncate=self._options.truncate)
        except DetailUnavailable:
            self._dropped.add("unreadable_steps", example.id)
            return ()
        return tuple(
            StepTarget(place.position, step.label)
            for place, step in zip(stepped.extra_positions, steps, strict=True)
        )

    def _with_pairs(self, example: Example, encoded: Sequence[Encoded | None]) -> Example:
        """The example with the pairs that count, and with its ranking only if that holds.

        It holds also where a pair was seen before; it does not where a pair of it must not be
        learned, as any objective over the whole order would learn that pair as well.
        """
        pairs: list[Pair] = []
        in_order = True
        for pair in example.pairs:
            if encoded[pair.chosen] is None or encoded[pair.rejected] is None:
                continue
            reason = self._filter.objection(example, pair, encoded)
            if reason is None:
                pairs.append(pair)
            else:
                self._dropped.add(reason, example.id)
                in_order = in_order and reason == "duplicate"
        ranking = example.ranking if in_order and pairs else None
        return replace(example, pairs=tuple(pairs), ranking=ranking)


def encoded_ids(encoder: DialogueEncoder, texts: Sequence[Sequence[int]], index: int) -> Encoded:
    """A text that came as token ids, read as it stands; never cut, as its prompt is not known.

    Args:
        encoder: the model's position contract, of which only the reading rule applies.
        texts: ids of all texts of one prompt; what they begin with counts as it.
        index: of the text.
    """
    encoded = encoder.encode(TokenIds(tuple(texts[index])), truncate="error")
    return replace(encoded, num_prompt_tokens=common_ids(texts))


def _used(
    example: Example,
    encoded: Sequence[Encoded | None],
    steps: Sequence[Sequence[StepTarget]],
    targets: frozenset[Target],
) -> list[int]:
    """The responses of which there is something to look at, so that none runs for nothing."""
    used: set[int] = set()
    if targets & _ABOUT_PAIRS and (example.ranking or targets & {"pairs", "tokens"}):
        used |= {index for pair in example.pairs for index in (pair.chosen, pair.rejected)}
    for index, response in enumerate(encoded):
        if response is not None and (
            example.ratings[index] is not None
            or steps[index]
            or ("is_safe" in targets and example.is_safe[index] is not None)
        ):
            used.add(index)
    return sorted(used)
