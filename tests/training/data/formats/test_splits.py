import pytest

from training.data.formats.splits import declared_splits, split_named


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("train", "train"),
        ("train-00000-of-00002.parquet", "train"),
        ("my_training.jsonl", "train"),
        ("test.jsonl.gz", "heldout"),
        ("valid2", "heldout"),
        ("validation", "heldout"),
        ("val", "heldout"),
        ("held-out.csv", "heldout"),
        ("contest.jsonl", None),
        ("restrained.jsonl", None),
        ("data.jsonl", None),
    ],
)
def test_a_name_tells_the_side_by_a_whole_word(name: str, side: str | None) -> None:
    assert split_named(name) == side


def test_sides_count_only_beside_each_other() -> None:
    assert declared_splits(["train.jsonl", "test.jsonl", "more.jsonl"]) == {
        "train.jsonl": "train",
        "test.jsonl": "heldout",
    }
    assert declared_splits(["test.jsonl", "validation.jsonl"]) == {}
