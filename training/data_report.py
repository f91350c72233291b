"""What became of the data: how much was used, and what was left out, why and which."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from training.comparisons import Comparison
from training.records import Split

REASONS: Mapping[str, str] = {
    "prompts_differ": "the two dialogues differ before the last turn",
    "single_response": "only one response, nothing to compare",
    "empty": "empty prompt or response",
    "unencodable": "the chat template or tokenizer refuses the text",
    "over_long": "longer than max_length tokens",
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
        records: comparisons with at least one pair.
        responses: responses in them.
        pairs: strict pairs.
        tokens: over all encoded responses, prompts included.
        median_tokens: of one response with its prompt.
        max_tokens: the longest.
        longer_wins: share of pairs whose chosen response has more characters, equal ones half.
        strengths: pairs per grade.
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


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was read, kept and left out.

    Attributes:
        files: format of each file read, by path.
        records_read: rows that were read.
        ties: pairs of equal rank: never trained on, never counted in accuracy.
        splits: counts of each split.
        dropped: record ids by reason; an id stands once for each thing left out of its record.
        fingerprint: sha256 over the kept comparisons, hex.
    """

    files: Mapping[str, str]
    records_read: int
    ties: int
    splits: Mapping[Split, SplitCounts]
    dropped: Mapping[str, Sequence[str]]
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with every id."""
        counts = {reason: len(ids) for reason, ids in self.dropped.items()}
        return {**asdict(self), "dropped_counts": counts}

    def to_text(self, *, most_ids: int = 5) -> str:
        """For a person to read.

        Args:
            most_ids: how many ids to name for each reason.
        """
        lines = [
            f"{self.records_read} rows from {len(self.files)} file(s): "
            + ", ".join(f"{path} ({layout})" for path, layout in self.files.items())
        ]
        for split, counts in self.splits.items():
            grades = ", ".join(f"{grade} {n}" for grade, n in counts.strengths.items())
            lines.append(
                f"{split:>8}: {counts.pairs} pairs of {counts.responses} responses to "
                f"{counts.prompts} prompts; {counts.median_tokens:.0f} tokens in the middle, "
                f"{counts.max_tokens} at most; the longer response is chosen in "
                f"{counts.longer_wins:.1%}" + (f"; {grades}" if grades else "")
            )
        lines.append(f"    ties: {self.ties} pairs of equal rank, not used")
        if not self.dropped:
            lines.append(" dropped: nothing")
        for reason in REASONS:
            ids = self.dropped.get(reason, ())
            if ids:
                shown = ", ".join(ids[:most_ids]) + (", …" if len(ids) > most_ids else "")
                lines.append(f" dropped: {len(ids)} × {REASONS[reason]}: {shown}")
        return "\n".join(lines)


def split_counts(comparisons: Sequence[Comparison]) -> SplitCounts:
    """Count one split."""
    lengths = [e.num_tokens for comparison in comparisons for e in comparison.encoded]
    strengths: dict[str, int] = {}
    longer, pairs = 0.0, 0
    for comparison in comparisons:
        for pair in comparison.pairs:
            pairs += 1
            chosen = len(comparison.responses[pair.chosen])
            rejected = len(comparison.responses[pair.rejected])
            longer += 0.5 * ((chosen > rejected) + (chosen >= rejected))
            if pair.strength:
                strengths[pair.strength] = strengths.get(pair.strength, 0) + 1
    return SplitCounts(
        prompts=len({comparison.prompt_key for comparison in comparisons}),
        records=len(comparisons),
        responses=len(lengths),
        pairs=pairs,
        tokens=sum(lengths),
        median_tokens=statistics.median(lengths) if lengths else 0.0,
        max_tokens=max(lengths, default=0),
        longer_wins=longer / pairs if pairs else 0.5,
        strengths=strengths,
    )
