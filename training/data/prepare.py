"""From records to the two sides of a split, encoded, with nothing left out silently."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rm_core.types import Dialogue
from training.data.audit import audit
from training.data.build import DialogueEncoder, ExampleBuilder
from training.data.examples import EncodedExample, prompt_key
from training.data.formats.reading import ReadRecords
from training.data.options import DataOptions
from training.data.records import PreferenceRecord
from training.data.report import DataReport, Dropped, split_counts
from training.errors import DataError
from training.types import Split

__all__ = [
    "DataOptions",
    "PreparedData",
    "accounted_data",
    "assign_splits",
    "fingerprint",
    "prepare_data",
    "train_side_dialogues",
]


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Both sides of the split and the account of what was left out."""

    train: tuple[EncodedExample, ...]
    heldout: tuple[EncodedExample, ...]
    report: DataReport


def prepare_data(read: ReadRecords, encoder: DialogueEncoder, options: DataOptions) -> PreparedData:
    """Split by prompt, encode, expand rankings to pairs, and account for the rest.

    Raises:
        DataError: nothing is left to train on or to evaluate on.
    """
    data = accounted_data(read, encoder, options)
    if not data.train:
        raise DataError(
            f"nothing is left to train on{_hint(data.report)}:\n{data.report.to_text()}"
        )
    if not data.heldout:
        raise DataError(
            "nothing is left to evaluate on; raise the held-out fraction or give more data:\n"
            + data.report.to_text()
        )
    return data


def _hint(report: DataReport) -> str:
    """What to do where the data hold something else than what the objectives learn from."""
    if report.dropped.keys() & {"no_target", "single_response"}:
        return (
            "; the objectives learn from what these data have not. Pairs and rankings are for "
            "bradley_terry and its kin, `ratings` for regression, `steps` for steps, `is_safe` for "
            "safety_auxiliary"
        )
    if report.dropped.keys() & {"over_long"}:
        return "; raise `max_length`, or cut prompts with `truncate` = prompt"
    return ""


def accounted_data(
    read: ReadRecords, encoder: DialogueEncoder, options: DataOptions
) -> PreparedData:
    """The same whatever is left, for looking at data without training on it."""
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
    builder = ExampleBuilder(encoder, options, dropped)
    train = builder.build(train_records, options.targets)
    # Whatever is learned, how well it orders responses can be told from pairs.
    heldout = builder.build(sides["heldout"], options.targets | {"pairs"})
    found = audit(sides)
    report = DataReport(
        files=read.formats,
        records_read=read.num_rows,
        ties=builder.ties,
        splits={"train": split_counts(train), "heldout": split_counts(heldout)},
        dropped=dropped.ids,
        fingerprint=fingerprint(train, heldout),
        malformed=read.malformed,
        sources=found.records_by_source,
        contradictions=found.contradictions,
        near_identical=found.near_identical,
        safety_bins=found.safety_bins,
        prompts_in_both_splits=found.prompts_in_both_splits,
        mixture=read.mixture,
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


def fingerprint(*splits: Sequence[EncodedExample]) -> str:
    """The sha256 over every kept example, in order: equal data, equal fingerprint."""
    digest = hashlib.sha256()
    for examples in splits:
        digest.update(f"split {len(examples)}\n".encode())
        for example in examples:
            digest.update(example.prompt_key.encode())
            for encoded in example.encoded:
                digest.update(repr(encoded.input_ids).encode())
            digest.update(repr([(p.chosen, p.rejected, p.margin) for p in example.pairs]).encode())
            digest.update(repr(example.is_safe).encode())
            rated = any(rating is not None for rating in example.ratings)
            ratings = example.ratings if rated else ()
            for further in (example.ranking, ratings, example.step_targets):
                digest.update(repr(further).encode() if further else b"")
    return digest.hexdigest()
