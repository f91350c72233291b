"""From records to the two sides of a split, encoded, with nothing left out silently."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rm_core.errors import EmptyText, InputError, InputTooLong
from rm_core.text import TextEncoder
from rm_core.types import Dialogue, Encoded, Role, Truncation
from training.comparisons import Comparison, Pair, ordered_pairs, prompt_key, prompt_text
from training.data_report import DataReport, Dropped, split_counts
from training.errors import DataError
from training.formats.reading import ReadRecords
from training.losses import MARGINS, MarginTable
from training.records import PreferenceRecord, Split, Strength


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Both sides of the split and the account of what was left out."""

    train: tuple[Comparison, ...]
    heldout: tuple[Comparison, ...]
    report: DataReport


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How records become comparisons.

    Attributes:
        role: the safety role leaves out pairs whose chosen response is unsafe and the other safe.
        margins: table of the margins that grades of strength stand for.
        heldout_fraction: share of prompts held out, of records that carry no split of their own.
        split_seed: changes which prompts those are.
        truncate: leave over-long responses out ("error"), or cut their prompts' left ("prompt").
    """

    role: Role
    margins: MarginTable = "small"
    heldout_fraction: float = 0.1
    split_seed: int = 0
    truncate: Truncation = "error"


def prepare_data(read: ReadRecords, encoder: TextEncoder, options: DataOptions) -> PreparedData:
    """Split by prompt, encode, expand rankings to pairs, and account for the rest.

    Args:
        read: what the files held.
        encoder: the model's position contract; the server encodes by the same.
        options: see there.

    Raises:
        DataError: nothing is left to train on or to evaluate on.
    """
    dropped = Dropped()
    for reason, record_id in read.unusable:
        dropped.add(reason, record_id)
    sides = assign_splits(read.records, fraction=options.heldout_fraction, seed=options.split_seed)
    heldout_keys = {prompt_key(record.prompt) for record in sides["heldout"]}
    train_records = []
    for record in sides["train"]:
        if prompt_key(record.prompt) in heldout_keys:
            dropped.add("leaks_into_heldout", record.id)
        else:
            train_records.append(record)
    builder = _ComparisonBuilder(encoder, options, dropped)
    train = builder.build(train_records)
    heldout = builder.build(sides["heldout"])
    report = DataReport(
        files=read.formats,
        records_read=len(read.records) + len(read.unusable),
        ties=builder.ties,
        splits={"train": split_counts(train), "heldout": split_counts(heldout)},
        dropped=dropped.ids,
        fingerprint=fingerprint(train, heldout),
    )
    if not train:
        raise DataError(f"no pair is left to train on:\n{report.to_text()}")
    if not heldout:
        raise DataError(
            "no pair is left to evaluate on; raise the held-out fraction or give more data:\n"
            + report.to_text()
        )
    return PreparedData(train, heldout, report)


def assign_splits(
    records: Sequence[PreferenceRecord], *, fraction: float, seed: int
) -> dict[Split, list[PreferenceRecord]]:
    """Each record on its own side, or on the side that its prompt's hash falls on.

    A prompt that some record puts into the held-out split takes its undecided records there too.

    Args:
        records: records with or without a split of their own.
        fraction: expected share of held-out prompts among undecided ones, in [0, 1].
        seed: changes the draw.
    """
    declared = {prompt_key(r.prompt) for r in records if r.split == "heldout"}
    sides: dict[Split, list[PreferenceRecord]] = {"train": [], "heldout": []}
    for record in records:
        key = prompt_key(record.prompt)
        side = record.split
        if side is None:
            draw = hashlib.sha256(f"{seed}:{key}".encode()).digest()
            below = int.from_bytes(draw[:8]) < fraction * 2**64
            side = "heldout" if key in declared or below else "train"
        sides[side].append(record)
    return sides


def train_side_dialogues(
    records: Sequence[PreferenceRecord], *, fraction: float, seed: int
) -> list[Dialogue]:
    """Every prompt with each of its responses, without any prompt that is held out.

    What a base model may be language-modelled on, split as `prepare_data` splits.

    Args:
        records: of one role or of several; what one role holds out is left out for all.
        fraction: see `assign_splits`.
        seed: see `assign_splits`.
    """
    sides = assign_splits(records, fraction=fraction, seed=seed)
    heldout = {prompt_key(record.prompt) for record in sides["heldout"]}
    return [
        Dialogue(record.prompt, response)
        for record in sides["train"]
        if prompt_key(record.prompt) not in heldout
        for response in record.responses
        if response.strip()
    ]


def fingerprint(*splits: Sequence[Comparison]) -> str:
    """The sha256 over every kept comparison, in order: equal data, equal fingerprint."""
    digest = hashlib.sha256()
    for comparisons in splits:
        digest.update(f"split {len(comparisons)}\n".encode())
        for comparison in comparisons:
            digest.update(comparison.prompt_key.encode())
            for encoded in comparison.encoded:
                digest.update(repr(encoded.input_ids).encode())
            digest.update(
                repr([(p.chosen, p.rejected, p.margin) for p in comparison.pairs]).encode()
            )
            digest.update(repr(comparison.is_safe).encode())
    return digest.hexdigest()


class _ComparisonBuilder:
    """Encodes records and drops what can't be compared; remembers pairs across records."""

    def __init__(self, encoder: TextEncoder, options: DataOptions, dropped: Dropped) -> None:
        self._encoder = encoder
        self._options = options
        self._dropped = dropped
        self._margins: Mapping[Strength, float] = MARGINS[options.margins]
        self._seen: set[tuple[str, str, str]] = set()
        self.ties = 0

    def build(self, records: Sequence[PreferenceRecord]) -> tuple[Comparison, ...]:
        """Comparisons of those records that keep at least one pair."""
        built = (self._comparison(record) for record in records)
        return tuple(comparison for comparison in built if comparison is not None)

    def _comparison(self, record: PreferenceRecord) -> Comparison | None:
        if len(record.responses) == 1:
            self._dropped.add("single_response", record.id)
            return None
        text = prompt_text(record.prompt)
        if not text.strip():
            self._dropped.add("empty", record.id)
            return None
        encoded = [self._encode(record, response) for response in record.responses]
        key = prompt_key(record.prompt)
        is_safe = record.is_safe or (None,) * len(record.responses)
        pairs = []
        for pair in ordered_pairs(record, self._margins):
            if pair is None:
                self.ties += 1
            elif encoded[pair.chosen] is not None and encoded[pair.rejected] is not None:
                reason = self._objection(record, pair, encoded, is_safe, key)
                if reason is None:
                    pairs.append(pair)
                else:
                    self._dropped.add(reason, record.id)
        if not pairs:
            return None
        return _compact(record, key, text, encoded, pairs, is_safe)

    def _encode(self, record: PreferenceRecord, response: str) -> Encoded | None:
        """Token ids, or None and a note of why not."""
        dialogue = Dialogue(record.prompt, response)
        try:
            return self._encoder.encode(dialogue, truncate=self._options.truncate)
        except EmptyText:
            self._dropped.add("empty", record.id)
        except InputTooLong:
            self._dropped.add("over_long", record.id)
        except InputError:
            self._dropped.add("unencodable", record.id)
        return None

    def _objection(
        self,
        record: PreferenceRecord,
        pair: Pair,
        encoded: Sequence[Encoded | None],
        is_safe: Sequence[bool | None],
        key: str,
    ) -> str | None:
        """Why a pair of encoded responses must not be used; None where nothing speaks against."""
        chosen, rejected = record.responses[pair.chosen], record.responses[pair.rejected]
        if chosen.strip() == rejected.strip():
            return "identical"
        first, second = encoded[pair.chosen], encoded[pair.rejected]
        if first is not None and second is not None and first.input_ids == second.input_ids:
            return "identical_after_truncation"
        if (
            self._options.role == "safety"
            and is_safe[pair.chosen] is False
            and is_safe[pair.rejected] is True
        ):
            return "unsafe_chosen"
        if (key, chosen, rejected) in self._seen:
            return "duplicate"
        if (key, rejected, chosen) in self._seen:
            return "swapped_duplicate"
        self._seen.add((key, chosen, rejected))
        return None


def _compact(
    record: PreferenceRecord,
    key: str,
    text: str,
    encoded: Sequence[Encoded | None],
    pairs: Sequence[Pair],
    is_safe: Sequence[bool | None],
) -> Comparison:
    """A comparison of only those responses that stand in a pair, so that none runs for nothing."""
    used = sorted({index for pair in pairs for index in (pair.chosen, pair.rejected)})
    place = {index: position for position, index in enumerate(used)}
    return Comparison(
        id=record.id,
        prompt_key=key,
        prompt=text,
        responses=tuple(record.responses[index] for index in used),
        encoded=tuple(e for e in (encoded[index] for index in used) if e is not None),
        pairs=tuple(
            replace(pair, chosen=place[pair.chosen], rejected=place[pair.rejected])
            for pair in pairs
        ),
        is_safe=tuple(is_safe[index] for index in used),
        tags=record.tags,
    )
