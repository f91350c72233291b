"""What became of the data: how much was used, and what was left out, why and which.

`data_report.json` beside the weights is `DataReport.to_json`; docs/guides/data-formats.md explains
it.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from training.data.accounting import Malformed, MixtureCounts
from training.data.audit import Contradiction
from training.data.examples import EncodedExample
from training.statistics.intervals import SHARE, Interval, estimate
from training.types import STRENGTHS, Split

_MOST_SOURCES = 8

SCHEMA = 2
"""Of the JSON form; it grows when a key changes its meaning or goes, not when one comes."""

REASONS: Mapping[str, str] = {
    "prompts_differ": "the dialogues differ before the last turn",
    "template_arguments": "tools or template arguments, which a served request can't carry",
    "no_response": "no response at all",
    "not_rated": "nobody gave the rating that was asked for",
    "single_response": "only one response, and nothing about it that the objectives learn from",
    "no_target": "nothing that the objectives learn from",
    "empty": "empty prompt or response",
    "no_border": "the tokenizer doesn't tell where the response begins, as a mean head must know",
    "unencodable": "the chat template or tokenizer refuses the text",
    "over_long": "longer than max_length tokens",
    "unreadable_steps": "a step without text, or a tokenizer that doesn't tell where steps end",
    "identical": "the two responses are the same text",
    "identical_after_truncation": "the two responses are the same token ids",
    "duplicate": "the same pair was seen before",
    "swapped_duplicate": "the same pair was seen before with the opposite preference",
    "unsafe_chosen": "chosen unsafe over rejected safe (left out of safety training, LLaMA-2)",
    "leaks_into_heldout": "the prompt also stands in the held-out split",
}
"""Every reason to leave something out, in the order in which they are looked for."""


@dataclass(slots=True)
class Dropped:
    """Collects what is left out, by reason."""

    ids: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, record_id: str) -> None:
        """Note one response, pair or record of the record `record_id`."""
        self.ids.setdefault(reason, []).append(record_id)


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How much one split holds after everything was left out.

    Attributes:
        prompts: different prompts.
        records: examples with at least one pair.
        responses: responses in them.
        pairs: strict pairs.
        tokens: over all encoded responses, prompts included.
        median_tokens: of one response with its prompt.
        max_tokens: the longest.
        longer_wins: share of pairs whose chosen response has more characters, equal ones half.
        longer_wins_interval: its 95 % interval by prompts; None where there are fewer than two.
        strengths: pairs per grade.
        ungraded: pairs without one.
        sources: pairs per source.
        rated: responses with a rating that is learned from.
        steps: labelled steps that are learned from.
    """

    prompts: int
    records: int
    responses: int
    pairs: int
    tokens: int
    median_tokens: float
    max_tokens: int
    longer_wins: float
    strengths: Mapping[str, int]
    rated: int = 0
    steps: int = 0
    longer_wins_interval: Interval | None = None
    ungraded: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was read, kept and left out.

    Attributes:
        files: format of each file read, by path.
        records_read: rows that were read.
        ties: pairs of equal rank: never trained on, never counted in accuracy.
        splits: counts of each split.
        dropped: record ids by reason; an id stands once for each thing left out of its record.
        fingerprint: sha256 over the kept examples, hex.
        malformed: rows that are not what their format promises.
        sources: records of each source, before anything was left out.
        contradictions: records that prefer opposite responses; the later one is left out.
        near_identical: ids of records with a pair that hardly differs, once for each; they are
            kept.
        safety_bins: strict pairs by the safety of both responses, before anything was left out.
        prompts_in_both_splits: prompts on both sides; training leaves its records of them out.
        mixture: what a mixture drew; None: everything was taken.
        length_unit: what `SplitCounts` counts lengths in: "tokens", or "characters" where no
            tokenizer was given.
    """

    files: Mapping[str, str]
    records_read: int
    ties: int
    splits: Mapping[Split, SplitCounts]
    dropped: Mapping[str, Sequence[str]]
    fingerprint: str
    malformed: Sequence[Malformed] = ()
    sources: Mapping[str, int] = field(default_factory=dict)
    contradictions: Sequence[Contradiction] = ()
    near_identical: Sequence[str] = ()
    safety_bins: Mapping[str, int] = field(default_factory=dict)
    prompts_in_both_splits: int = 0
    mixture: MixtureCounts | None = None
    length_unit: str = "tokens"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with every id."""
        counts = {reason: len(ids) for reason, ids in self.dropped.items()}
        return {"schema": SCHEMA, **asdict(self), "dropped_counts": counts}

    def to_text(self, *, most_ids: int = 5) -> str:
        """For a person to read.

        Args:
            most_ids: how many ids to name for each reason.
        """
        lines = [
            f"{self.records_read} rows from {len(self.files)} file(s): "
            + ", ".join(f"{path} ({layout})" for path, layout in self.files.items())
        ]
        lines += (self._split_line(split, counts) for split, counts in self.splits.items())
        lines.append(f"    ties: {self.ties} pairs of equal rank, not used")
        lines += self._mixture_lines()
        if not self.dropped:
            lines.append(" dropped: nothing")
        for reason, meaning in REASONS.items():
            ids = self.dropped.get(reason, ())
            if ids:
                lines.append(f" dropped: {len(ids)} × {meaning}{_shown(ids, most_ids)}")
        lines += self._findings(most_ids)
        return "\n".join(lines)

    def _split_line(self, split: Split, counts: SplitCounts) -> str:
        grades = [f"{grade} {n}" for grade, n in counts.strengths.items()]
        if grades and counts.ungraded:
            grades.append(f"without grade {counts.ungraded}")
        further = [", ".join(grades)] if grades else []
        further += [f"{counts.rated} rated responses"] if counts.rated else []
        further += [f"{counts.steps} labelled steps"] if counts.steps else []
        if counts.pairs:
            interval = counts.longer_wins_interval
            spread = f" ({interval.low:.1%} – {interval.high:.1%})" if interval else ""
            further.insert(0, f"the longer response is chosen in {counts.longer_wins:.1%}{spread}")
        return (
            f"{split:>8}: {counts.pairs} pairs of {counts.responses} responses to "
            f"{counts.prompts} prompts; {counts.median_tokens:.0f} {self.length_unit} in the "
            f"middle, {counts.max_tokens} at most" + "".join(f"; {part}" for part in further)
        )

    def _mixture_lines(self) -> Iterator[str]:
        if self.mixture is not None:
            for part in self.mixture.parts:
                yield (
                    f" mixture: {part.drawn} of {part.available} training records of {part.name}: "
                    f"{part.share:.1%} ({part.wanted:.1%} wanted)"
                )

    def _findings(self, most_ids: int) -> Iterator[str]:
        if len(self.sources) > 1:
            largest = sorted(self.sources.items(), key=lambda item: -item[1])
            named = [f"{source} {count}" for source, count in largest[:_MOST_SOURCES]]
            named += [f"{len(largest) - _MOST_SOURCES} others"] * (len(largest) > _MOST_SOURCES)
            yield f" sources: {', '.join(named)} records"
        if self.malformed:
            shown = [f"{row.where} ({row.problem})" for row in self.malformed]
            yield f"  broken: {len(shown)} malformed rows{_shown(shown, most_ids)}"
        if self.contradictions:
            both = [f"{found.first} against {found.second}" for found in self.contradictions]
            yield f"   notes: {len(both)} contradictions{_shown(both, most_ids)}"
        if self.near_identical:
            yield (
                f"   notes: {len(self.near_identical)} pairs of responses that hardly differ, kept"
                + _shown(self.near_identical, most_ids)
            )
        if self.prompts_in_both_splits:
            yield f"   notes: {self.prompts_in_both_splits} prompts stand in both splits"
        total = sum(self.safety_bins.values())
        if total:
            bins = ", ".join(
                f"{name.replace('_', ' ')} {count} ({count / total:.0%})"
                for name, count in self.safety_bins.items()
            )
            yield f"  safety: {bins}"


def split_counts(examples: Sequence[EncodedExample]) -> SplitCounts:
    """Count one split."""
    lengths = [e.num_tokens for example in examples for e in example.encoded]
    strengths: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    longer: list[float] = []
    keys: list[str] = []
    for example in examples:
        for pair in example.pairs:
            chosen = len(example.responses[pair.chosen])
            rejected = len(example.responses[pair.rejected])
            longer.append(0.5 * ((chosen > rejected) + (chosen >= rejected)))
            keys.append(example.prompt_key)
            sources[example.source] += 1
            if pair.strength:
                strengths[pair.strength] += 1
    wins = estimate(longer, keys, span=SHARE)
    return SplitCounts(
        prompts=len({example.prompt_key for example in examples}),
        records=len(examples),
        responses=len(lengths),
        pairs=len(longer),
        tokens=sum(lengths),
        median_tokens=statistics.median(lengths) if lengths else 0.0,
        max_tokens=max(lengths, default=0),
        longer_wins=wins.value if wins else 0.5,
        strengths={grade: strengths[grade] for grade in STRENGTHS if strengths[grade]},
        rated=sum(rating is not None for c in examples for rating in c.ratings),
        steps=sum(len(own) for c in examples for own in c.step_targets),
        longer_wins_interval=wins.interval if wins else None,
        ungraded=len(longer) - sum(strengths.values()),
        sources=dict(sorted(sources.items())),
    )


def _shown(names: Sequence[str], most: int) -> str:
    """The first names behind a colon; nothing where none is to be shown."""
    if not most:
        return ""
    return ": " + ", ".join(names[:most]) + (", …" if len(names) > most else "")
