"""Files, folders, saved datasets, folders in the hub's layout, and what is nowhere."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, DatasetDict

from training.data.formats import read_records
from training.data.formats.options import FormatOptions
from training.data.formats.sources import parts_of
from training.errors import DataError


def rows(first: int, count: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"Question {n}?", "chosen": f"Answer {n}.", "rejected": "No."}
        for n in range(first, first + count)
    ]


def prompts(places: Sequence[Path | str]) -> list[object]:
    return [record.prompt for record in read_records(places).records]


def test_a_dataset_saved_to_disk_is_read(tmp_path: Path) -> None:
    Dataset.from_list(rows(0, 3)).save_to_disk(tmp_path / "saved")

    read = read_records([tmp_path / "saved"])

    assert [record.id for record in read.records] == [f"saved:[{n}]" for n in range(3)]
    assert [record.split for record in read.records] == [None] * 3


def test_the_splits_of_a_saved_dataset_are_kept(tmp_path: Path) -> None:
    both = {"train": Dataset.from_list(rows(0, 2)), "test": Dataset.from_list(rows(2, 1))}
    DatasetDict(both).save_to_disk(tmp_path / "saved")

    read = read_records([tmp_path / "saved"])

    assert [(record.id, record.split) for record in read.records] == [
        ("saved/train:[0]", "train"),
        ("saved/train:[1]", "train"),
        ("saved/test:[0]", "heldout"),
    ]


def hub_folder(root: Path) -> Path:
    """A folder as it lies on the hub: a card that names the files of two configurations."""
    for name, first in (("kind", 0), ("harsh", 10)):
        for split, count in (("train", 2), ("test", 1)):
            path = root / name / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list(rows(first, count)).to_parquet(path)
    configs = [
        f"- config_name: {config}\n  data_files:\n"
        f"  - split: train\n    path: {name}/train-*\n  - split: test\n    path: {name}/test-*\n"
        for config, name in (("gentle", "kind"), ("harsh", "harsh"))
    ]
    (root / "README.md").write_text("---\nconfigs:\n" + "".join(configs) + "---\n")
    return root


def test_a_folder_in_hub_layout_is_read_one_part_at_a_time(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub")

    for part in ("kind", "gentle"):  # a folder in it, and a configuration
        read = read_records([f"{folder}@{part}"])

        assert {record.prompt for record in read.records} == {"Question 0?", "Question 1?"}
        assert sorted(str(r.split) for r in read.records) == ["heldout", "train", "train"]
    with pytest.raises(DataError, match="harsh"):
        read_records([folder])  # two configurations, and none was chosen


@pytest.mark.parametrize("file", ["data/{split}-00000-of-00001.jsonl", "{split}/0000.jsonl"])
def test_files_that_lie_deeper_are_read_with_the_split_that_file_or_folder_names(
    tmp_path: Path, file: str
) -> None:
    for split, first in (("train", 0), ("test", 5)):
        path = tmp_path / "hub" / file.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(json.dumps(row) for row in rows(first, 2)))

    read = read_records([tmp_path / "hub"])

    assert [(r.id, r.split) for r in read.records] == [
        (f"{file.format(split=name)}:{line}", side)
        for name, side in (("test", "heldout"), ("train", "train"))
        for line in (1, 2)
    ]


def test_a_file_that_datasets_cannot_read_is_one_clear_error(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub")
    (folder / "kind" / "train-00000-of-00001.parquet").write_bytes(b"torn")

    with pytest.raises(DataError, match="hub"):
        read_records([f"{folder}@gentle"])


def test_a_hub_name_goes_to_datasets_with_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, dict[str, Any]]] = []

    def load_dataset(name: str, config: str | None = None, **how: Any) -> DatasetDict:
        asked.append((name, config, how))
        if config not in {None, "kind"}:
            raise ValueError("BuilderConfig 'folder' not found. Available: ['kind']")
        return DatasetDict({"train": Dataset.from_list(rows(0, 1))})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    assert prompts(["somebody/pairs"]) == ["Question 0?"]
    assert prompts(["somebody/pairs@kind"]) == ["Question 0?"]
    assert prompts(["somebody/pairs@folder"]) == ["Question 0?"]
    assert asked == [
        ("somebody/pairs", None, {"streaming": False}),
        ("somebody/pairs", "kind", {"streaming": False}),
        ("somebody/pairs", "folder", {"streaming": False}),
        ("somebody/pairs", None, {"streaming": False, "data_dir": "folder"}),
    ]


def test_what_the_hub_cannot_give_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*what: Any, **how: Any) -> None:
        raise ConnectionError("offline\nfor now\nwith a long trace")

    monkeypatch.setattr(datasets, "load_dataset", offline)

    with pytest.raises(DataError, match="somebody/pairs is neither here") as refusal:
        parts_of("somebody/pairs", FormatOptions())
    assert "long trace" not in str(refusal.value)


@pytest.mark.parametrize(
    "place", ["absent.jsonl", "absent", "/nowhere/at/all", "./absent", "a/b/c", "absent.parquet@x"]
)
def test_a_path_that_is_absent_is_not_looked_for_on_the_hub(place: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        parts_of(place, FormatOptions())


def test_a_folder_without_data_and_a_part_of_a_file_are_errors(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="holds no"):
        parts_of(str(tmp_path / "empty"), FormatOptions())
    with pytest.raises(DataError, match="is a file"):
        parts_of(f"{tmp_path / 'a.jsonl'}@part", FormatOptions())
    with pytest.raises(DataError, match="is none of"):
        parts_of(str(tmp_path / "notes.txt"), FormatOptions())
    with pytest.raises(DataError, match="neither a folder"):
        parts_of(f"{tmp_path}@part", FormatOptions())
