"""What preference data says about itself before a model sees it.

Contradictions, responses that hardly differ, safety bins, prompts on both sides: counted over
records as they were read, by no other means than their text and labels.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from training.data.examples import prompt_key
from training.data.records import PreferenceRecord
from training.types import Split

NEARLY_THE_SAME = 0.9
"""Share of the words of the longer response from which on two responses hardly differ."""

SAFETY_BINS: tuple[str, ...] = (
    "chosen_safe_rejected_unsafe",
    "both_safe",
    "both_unsafe",
    "chosen_unsafe_rejected_safe",
)
"""LLaMA-2's bins of safety pairs (arXiv 2307.09288 §3.2.1); it leaves the last one out."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two records that prefer opposite responses of one prompt.

    Attributes:
        first: id of the record that was read first.
        second: id of the other.
    """

    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in the records.

    Attributes:
        contradictions: pairs that stand both ways.
        near_identical: records with a pair that hardly differs; an id stands once for each pair.
        safety_bins: strict pairs with both labels known, by bin; empty where nothing is labelled.
        prompts_in_both_splits: different prompts that stand on both sides.
        records_by_source: records of each source.
    """

    contradictions: tuple[Contradiction, ...]
    near_identical: tuple[str, ...]
    safety_bins: Mapping[str, int]
    prompts_in_both_splits: int
    records_by_source: Mapping[str, int]


def audit(sides: Mapping[Split, Sequence[PreferenceRecord]]) -> Audit:
    """Look through the records of both sides."""
    first_seen: dict[bytes, str] = {}
    contradictions: list[Contradiction] = []
    near_identical: list[str] = []
    bins: Counter[str] = Counter()
    for record in (record for records in sides.values() for record in records):
        digests = _digests(record)
        for chosen, rejected in strict_pairs(record):
            way, other_way = (
                digests[chosen] + digests[rejected],
                digests[rejected] + digests[chosen],
            )
            if other_way in first_seen and digests[chosen] != digests[rejected]:
                contradictions.append(Contradiction(first_seen[other_way], record.id))
            first_seen.setdefault(way, record.id)
            if hardly_differ(record.responses[chosen], record.responses[rejected]):
                near_identical.append(record.id)
            label = _bin(record, chosen, rejected)
            if label is not None:
                bins[label] += 1
    keys = [{prompt_key(record.prompt) for record in records} for records in sides.values()]
    return Audit(
        contradictions=tuple(contradictions),
        near_identical=tuple(near_identical),
        safety_bins={name: bins[name] for name in SAFETY_BINS} if bins else {},
        prompts_in_both_splits=len(set.intersection(*keys)) if keys else 0,
        records_by_source=_by_source(record for records in sides.values() for record in records),
    )


def strict_pairs(record: PreferenceRecord) -> Iterator[tuple[int, int]]:
    """(chosen, rejected) indices of every strict preference in a record."""
    for chosen, rank in enumerate(record.ranking):
        for rejected, other in enumerate(record.ranking):
            if rank < other:
                yield chosen, rejected


def hardly_differ(left: str, right: str) -> bool:
    """Whether two different responses are alike but for one passage.

    Compared by words, without regard to case: what they begin with and end with in common makes up
    at least `NEARLY_THE_SAME` of the longer one. A change in two far places is not found; the time
    is linear, and nothing that is found is far apart.
    """
    if left.strip() == right.strip():
        return False
    first, second = left.casefold().split(), right.casefold().split()
    shorter, longer = sorted((len(first), len(second)))
    if shorter < NEARLY_THE_SAME * longer:
        return False
    begin = _common(first, second, shorter)
    end = _common(first[::-1], second[::-1], shorter - begin)
    return begin + end >= NEARLY_THE_SAME * longer


def _common(left: Sequence[str], right: Sequence[str], most: int) -> int:
    return next((at for at in range(most) if left[at] != right[at]), most)


def _digests(record: PreferenceRecord) -> list[bytes]:
    """A digest of the prompt with each response; texts are never held for long."""
    key = prompt_key(record.prompt)
    return [
        hashlib.blake2b(
            f"{key}\0{text.strip()}".encode(errors="surrogatepass"), digest_size=12
        ).digest()
        for text in record.responses
    ]


def _bin(record: PreferenceRecord, chosen: int, rejected: int) -> str | None:
    if record.is_safe is None:
        return None
    own, other = record.is_safe[chosen], record.is_safe[rejected]
    if own is None or other is None:
        return None
    if own == other:
        return "both_safe" if own else "both_unsafe"
    return "chosen_safe_rejected_unsafe" if own else "chosen_unsafe_rejected_safe"


def _by_source(records: Iterable[PreferenceRecord]) -> Mapping[str, int]:
    counts = Counter(record.source for record in records)
    return dict(sorted(counts.items()))
