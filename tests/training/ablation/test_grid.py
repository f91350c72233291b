import pytest

from rm_core.errors import ConfigurationError
from training.ablation.grid import make_grid
from training.config import TrainingConfig

CONFIG = TrainingConfig(role="safety", data=("d",), base="b", output="o", seed=5)


def test_rows_are_all_combinations_in_the_order_given() -> None:
    grid = make_grid(CONFIG, margins=["large", "none"], heads=["last_token", "mean"])

    assert [(row.margins, row.head) for row in grid.settings] == [
        ("large", "last_token"),
        ("large", "mean"),
        ("none", "last_token"),
        ("none", "mean"),
    ]
    assert grid.labels() == [
        "margins: large, head: last token",
        "margins: large, head: mean",
        "margins: none, head: last token",
        "margins: none, head: mean",
    ]


def test_what_is_not_varied_stays_as_configured() -> None:
    grid = make_grid(CONFIG, objectives=["hinge", "bradley_terry+centering=0.01"])

    first, second = (row.applied_to(CONFIG, seed=7) for row in grid.settings)

    assert (first.margins, first.head, first.seed) == ("small", "last_token", 7)
    assert first.weights == {"hinge": 1.0}
    assert second.weights == {"bradley_terry": 1.0, "centering": 0.01}
    assert grid.labels() == ["objective: hinge", "objective: bradley_terry + 0.01 centering"]


def test_objectives_that_read_no_margins_make_one_row_whatever_the_tables() -> None:
    objectives = ["bradley_terry", "kwise", "hinge+listnet"]
    grid = make_grid(CONFIG, margins=["none", "large"], objectives=objectives)

    assert grid.labels() == [
        "margins: none, objective: bradley_terry",
        "margins: not read, objective: kwise",
        "margins: none, objective: hinge + listnet",
        "margins: large, objective: bradley_terry",
        "margins: large, objective: hinge + listnet",
    ]
    alone = make_grid(CONFIG, objectives=["bradley_terry", "kwise"])
    assert alone.labels() == ["objective: bradley_terry", "objective: kwise"]
    assert make_grid(CONFIG, objectives=["kwise"]).labels() == [
        "margins: not read, objective: kwise, head: last token"
    ]


def test_a_single_row_still_says_what_it_is() -> None:
    label = make_grid(CONFIG).labels()[0]

    assert label == "margins: small, objective: bradley_terry, head: last token"


def test_a_combination_that_cannot_be_trained_is_left_out_with_its_reason() -> None:
    grid = make_grid(CONFIG, objectives=["bradley_terry", "steps"], heads=["last_token"])

    assert [row.objectives for row in grid.settings] == [{"bradley_terry": 1.0}]
    assert len(grid.left_out) == 1
    assert "steps" in grid.left_out[0]
    assert "per_token" in grid.left_out[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"margins": ["huge"]}, "nothing to train"),
        ({"heads": ["first_token"]}, "head"),
        ({"objectives": ["bradley_tery"]}, "bradley_terry"),
        ({"margins": ["none", "none"]}, "twice"),
        ({"objectives": ["steps"], "heads": ["mean"]}, "nothing to train"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(rows: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_grid(CONFIG, **rows)  # type: ignore[arg-type]
