import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers.normalizers import NFKC

from rm_core.types import Dialogue
from tests.training.samples import preference_rows, write_jsonl
from training.batches.collator import ExampleCollator
from training.batches.padded import PaddedLayout
from training.data.examples import prompt_key
from training.data.formats import read_records
from training.data.prepare import (
    DataOptions,
    PreparedData,
    assign_splits,
    prepare_data,
    train_side_dialogues,
)
from training.data.records import PreferenceRecord
from training.errors import DataError
from training.modeling.reward_model import TrainableModel


def ranked(prompt: str, *responses: str, **known: Any) -> dict[str, Any]:
    """A row whose responses stand from the best to the worst, unless it knows their ranks."""
    ranking = list(range(len(responses)))
    return {"prompt": prompt, "responses": [*responses], "ranking": ranking, **known}


KEPT = [
    ranked("One?", "a b", "c d", id="kept"),
    ranked("Held out?", "a", "b", id="held", split="heldout"),
]


def prepare(
    tmp_path: Path, start: TrainableModel, rows: list[dict[str, Any]], **options: Any
) -> PreparedData:
    rows = [{"split": "train", **row} for row in rows]
    read = read_records([write_jsonl(tmp_path / "rows.jsonl", rows)])
    return prepare_data(read, start.encoder, DataOptions(**{"role": "helpfulness", **options}))


DROPPED: list[tuple[str, dict[str, Any]]] = [
    ("identical", ranked("p", "same", " same ")),
    ("empty", ranked("p", "text", " \n")),
    ("empty", ranked(" ", "x", "y")),
    ("over_long", ranked("p", "word " * 200, "y")),
    ("single_response", ranked("p", "x")),
    ("duplicate", ranked("One?", "c d", "a b", ranking=[1, 0], id="kept")),
    ("swapped_duplicate", ranked("one?", "c d", "a b")),
    ("leaks_into_heldout", ranked("held  OUT?", "x", "y")),
    ("unencodable", ranked("p", "\ud800", "y")),
]


@pytest.mark.parametrize(("reason", "row"), DROPPED)
def test_what_cannot_be_used_is_left_out_counted_and_named(
    tmp_path: Path, start: TrainableModel, reason: str, row: dict[str, Any]
) -> None:
    row = {"id": "bad", **row}
    data = prepare(tmp_path, start, [*KEPT, row])
    assert dict(data.report.dropped) == {reason: [row["id"]]}
    assert [example.id for example in data.train] == ["kept"]
    assert row["id"] in data.report.to_text()
    assert data.report.to_json()["dropped_counts"] == {reason: 1}
    json.dumps(data.report.to_json())


def test_margins_stay_with_their_rows_whatever_is_dropped_between_them(
    tmp_path: Path, start: TrainableModel
) -> None:
    """A column of margins beside a filtered column of texts would slip (ms-swift 9927)."""
    spoiled = [row for _, row in DROPPED if row.get("id") != "kept"]
    rows = [
        ranked(f"{n}?", f"a {n}", f"b {n}", ranking=[n % 2, 1 - n % 2], id=f"{n}")
        for n in range(len(spoiled))
    ]
    mixed = [row for pair in zip(spoiled, rows, strict=True) for row in pair]
    rows = [{**row, "margin": float(n)} for n, row in enumerate(mixed)]

    data = prepare(tmp_path, start, [*KEPT, *rows])

    asked = {row["id"]: row["margin"] for row in rows if "id" in row}
    train = [example for example in data.train if example.id in asked]
    assert len(train) == len(spoiled)
    layout = PaddedLayout(start.pad_token_id)
    batch = ExampleCollator(layout, {"bradley_terry": 1.0}, "pair")(train)
    assert batch["margin"].tolist() == [asked[example.id] for example in train]
    ids = batch["input_ids"]
    for example, chosen in zip(train, batch["chosen"].tolist(), strict=True):
        best = example.responses[example.pairs[0].chosen]
        assert start.tokenizer.decode(ids[chosen], skip_special_tokens=True).endswith(best)


def test_responses_whose_difference_no_token_shows_are_left_out(
    tmp_path: Path, start: TrainableModel
) -> None:
    start.tokenizer.backend_tokenizer.normalizer = NFKC()
    row = ranked("p", "\ufb01ne", "fine", id="bad")
    data = prepare(tmp_path, start, [*KEPT, row])
    assert dict(data.report.dropped) == {"identical_after_truncation": ["bad"]}


def test_over_long_prompts_can_be_cut_instead(tmp_path: Path, start: TrainableModel) -> None:
    row = ranked("word " * 200, "x", "y", id="long")
    data = prepare(tmp_path, start, [*KEPT, row], truncate="prompt")
    cut = next(example for example in data.train if example.id == "long")
    assert not data.report.dropped
    assert all(encoded.num_tokens == 128 for encoded in cut.encoded)


def test_only_the_hurt_pairs_of_a_ranking_go(tmp_path: Path, start: TrainableModel) -> None:
    row = ranked("p", "a", "", "b", "c", ranking=[0, 1, 2, 2], id="ranked")
    data = prepare(tmp_path, start, [*KEPT, row])
    kept = data.train[1]
    assert kept.responses == ("a", "b", "c")
    assert {(pair.chosen, pair.rejected) for pair in kept.pairs} == {(0, 1), (0, 2)}
    assert data.report.ties == 1
    assert dict(data.report.dropped)["empty"] == ["ranked"]


def test_safety_training_leaves_out_unsafe_over_safe_and_helpfulness_does_not(
    tmp_path: Path, start: TrainableModel
) -> None:
    row = ranked("p", "a", "b", is_safe=[False, True], id="bin")
    safety = prepare(tmp_path, start, [*KEPT, row], role="safety")
    assert dict(safety.report.dropped) == {"unsafe_chosen": ["bin"]}
    helpfulness = prepare(tmp_path, start, [*KEPT, row], role="helpfulness")
    assert not helpfulness.report.dropped


def test_nothing_to_train_or_to_measure_on_is_an_error_with_the_report(
    tmp_path: Path, start: TrainableModel
) -> None:
    with pytest.raises(DataError, match="train on"):
        prepare(tmp_path, start, KEPT[1:])
    with pytest.raises(DataError, match="evaluate on"):
        prepare(tmp_path, start, KEPT[:1])


def undecided(count: int) -> list[PreferenceRecord]:
    return [PreferenceRecord(f"prompt {i}", ("a", "b"), (0, 1), f"{i}") for i in range(count)]


def test_the_split_by_hash_is_stable_and_holds_out_about_the_share_asked_for() -> None:
    records = undecided(2000)
    sides = assign_splits(records, fraction=0.2, seed=0)
    assert 0.17 < len(sides["heldout"]) / 2000 < 0.23
    again = assign_splits(records[::-1], fraction=0.2, seed=0)
    assert {r.id for r in again["heldout"]} == {r.id for r in sides["heldout"]}
    other = assign_splits(records, fraction=0.2, seed=1)
    assert {r.id for r in other["heldout"]} != {r.id for r in sides["heldout"]}


def test_no_prompt_ever_stands_on_both_sides(tmp_path: Path, start: TrainableModel) -> None:
    rows = preference_rows(24)
    for row in rows:
        del row["split"]
    rows += [{**row, "id": f"{row['id']}-again", "prompt": row["prompt"].upper()} for row in rows]
    read = read_records([write_jsonl(tmp_path / "rows.jsonl", rows)])
    options = DataOptions(role="helpfulness", heldout_fraction=0.4)
    data = prepare_data(read, start.encoder, options)
    train = {example.prompt_key for example in data.train}
    heldout = {example.prompt_key for example in data.heldout}
    assert train
    assert heldout
    assert not train & heldout


def test_the_base_model_never_reads_held_out_prompts() -> None:
    records = [
        PreferenceRecord("Seen?", ("a", "b"), (0, 1), "1", split="train"),
        PreferenceRecord("Hidden?", ("c", "d"), (0, 1), "2", split="heldout"),
        PreferenceRecord("hidden?", ("e", "f"), (0, 1), "3", split="train"),
    ]
    dialogues = train_side_dialogues(records, fraction=0.0, seed=0)
    assert dialogues == [Dialogue("Seen?", "a"), Dialogue("Seen?", "b")]


def test_the_fingerprint_follows_the_kept_data_and_nothing_else(
    tmp_path: Path, start: TrainableModel
) -> None:
    first = prepare(tmp_path, start, KEPT).report.fingerprint
    assert prepare(tmp_path, start, [*KEPT, ranked("p", "s", "s")]).report.fingerprint == first
    swapped = [{**KEPT[0], "ranking": [1, 0]}, KEPT[1]]
    assert prepare(tmp_path, start, swapped).report.fingerprint != first


def test_a_prompt_key_does_not_depend_on_the_run() -> None:
    assert prompt_key("a") == "ca978112ca1bbdcafac231b39a23dc4d"
