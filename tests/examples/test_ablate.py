"""The ablation example: its rows, its table, and one small run of the whole."""

from pathlib import Path

import pytest

from examples.ablate import ablation_table, main, make_rows
from rm_core.errors import ConfigurationError
from training.config import TrainingConfig
from training.errors import DataError

CONFIG = TrainingConfig(role="safety", data=("d",), base="b", output="o")
TERMS = {name: {name: 1.0} for name in ("bradley_terry", "kwise", "steps")}


def trial(*gaps: float, grades: tuple[str, ...] = ()) -> dict[tuple[str, str, str], object]:
    names = [f"prompt-{index}" for index in range(len(gaps))]
    told = grades or ("",) * len(gaps)
    return {(n, "a", "b"): (gap, n, g) for n, gap, g in zip(names, gaps, told, strict=True)}


def test_rows_are_all_combinations_named_by_what_differs() -> None:
    rows, left_out = make_rows(
        CONFIG, {"margins": ["large", "none"], "objectives": None, "head": ["last_token", "mean"]}
    )

    assert [(row.margins, row.head) for row in rows.values()] == [
        ("large", "last_token"),
        ("large", "mean"),
        ("none", "last_token"),
        ("none", "mean"),
    ]
    assert next(iter(rows)) == "margins: large, head: last token"
    assert left_out == []


def test_objectives_that_read_no_margins_make_one_row_whatever_the_tables() -> None:
    sets = [TERMS["bradley_terry"], TERMS["kwise"], {"hinge": 1.0, "centering": 0.01}]
    rows, _ = make_rows(CONFIG, {"margins": ["none", "large"], "objectives": sets, "head": None})

    assert list(rows) == [
        "margins: none, objectives: bradley terry",
        "margins: not read, objectives: kwise",
        "margins: none, objectives: hinge + 0.01 centering",
        "margins: large, objectives: bradley terry",
        "margins: large, objectives: hinge + 0.01 centering",
    ]


def test_what_cannot_be_trained_is_left_out_with_its_reason_and_all_of_it_is_refused() -> None:
    sets = {"margins": None, "objectives": [TERMS["bradley_terry"], TERMS["steps"]], "head": None}
    rows, (reason,) = make_rows(CONFIG, sets)

    assert list(rows) == ["objectives: bradley terry"]
    assert "per_token" in reason
    with pytest.raises(ConfigurationError, match="nothing to train"):
        make_rows(CONFIG, {**sets, "objectives": [TERMS["steps"]]})


def test_the_table_has_the_grades_that_occur_and_paired_differences() -> None:
    grades = ("better", "better", "negligibly_better", "")
    rows = {
        "one": [trial(1.0, 1.0, 0.0, -1.0, grades=grades)] * 2,
        "two": [trial(1.0, -1.0, 0.0, -1.0, grades=grades)] * 2,
    }
    table = ablation_table(rows)

    heads = ("better (2)", "negligibly better (1)", "graded (3)", "all (4)")
    assert table.columns == ("", *heads, "difference")
    assert table.title == "4 held-out prompts, 4 pairs, 2 seeds"
    values = [[cell.split(" (")[0] for cell in row] for row in table.rows]
    assert values == [
        ["one", "100.0 %", "50.0 %", "83.3 %", "62.5 %", "–"],
        ["two", "50.0 %", "50.0 %", "50.0 %", "37.5 %", "-25.0"],
    ]
    assert table.rows[1][-1].endswith("to +0.0)")  # no prompt is better in the second row


def test_rows_are_compared_on_the_pairs_that_all_of_them_have() -> None:
    table = ablation_table({"one": [trial(1.0, -1.0, -1.0)], "two": [trial(1.0, 1.0)]})

    assert table.columns[1:] == ("all (2)", "difference")
    assert table.rows[0][1].startswith("50.0 %")
    with pytest.raises(DataError, match="in common"):
        ablation_table({"one": [trial(1.0)], "two": [trial()]})


def test_it_trains_every_row_with_every_seed_and_prints_one_table(
    tiny_base: Path, preferences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--role", "safety", "--data", str(preferences), "--base", str(tiny_base)]
    arguments += ["--output", str(tmp_path / "out"), "--max-length", "128", "--batch-size", "8"]
    arguments += ["--trainable", "head", "--gradient-accumulation", "1", "--seeds", "2"]

    main([*arguments, "--margins", "none", "--margins", "large", "--objective", "bradley_terry"])

    told = capsys.readouterr()
    assert "## 8 held-out prompts, 8 pairs, 2 seeds" in told.out
    assert "| margins: none |" in told.out
    assert "| margins: large |" in told.out
    assert told.err.splitlines() == ["training margins: none", "training margins: large"]
    assert len(list((tmp_path / "out").iterdir())) == 1  # the trunk has run once for both
