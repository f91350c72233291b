import json
from pathlib import Path

import pytest

from tests.models import save_checkpoint
from tests.training.cli.commands import rewardd
from tests.training.samples import preference_rows, write_jsonl


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("models")
    return [
        str(save_checkpoint(directory / name, seed=seed))
        for seed, name in enumerate(("one", "two"))
    ]


@pytest.fixture
def data(tmp_path: Path) -> str:
    rows = preference_rows(16)
    for number, row in enumerate(rows):
        row["source"] = ("letters", "rivers")[number % 2]
    return str(write_jsonl(tmp_path / "data.jsonl", rows))


def test_two_models_stand_side_by_side_beside_the_baselines_in_every_output(
    checkpoints: list[str], data: str, tmp_path: Path
) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    code, shown = rewardd(
        "eval",
        *checkpoints,
        *("--data", data, "--json", str(figures), "--markdown", str(page)),
        *("--split", "heldout", "--robustness-prompts", "2"),
    )
    assert code == 0, shown
    value = json.loads(figures.read_text())
    names = [one["scorer"]["name"] for one in value["scorers"]]
    assert names == ["one", "two", "longer_wins", "shorter_wins", "bag_of_words", "constant"]
    assert value["data"]["prompts"] == 4
    assert value["data"]["robustness_prompts"] == 2
    assert value["data"]["files"] == {data: "canonical"}
    constant = value["scorers"][-1]["pairs"]["accuracy"]
    assert (constant["value"], constant["ties"]) == (0.5, constant["pairs"])
    assert value["scorers"][4]["pairs"]["accuracy"]["value"] == 1.0  # kind words are learned
    for words in ("Accuracy per grade of strength", "bag of words", "Decisions overturned"):
        assert words in shown
        assert words in page.read_text()
    first = value["scorers"][0]["pairs"]["accuracy"]["value"]
    assert f"{100 * first:.1f} %" in shown


def test_sections_and_subsets_come_from_a_local_file(
    checkpoints: list[str], data: str, tmp_path: Path
) -> None:
    sections, figures = tmp_path / "sections.toml", tmp_path / "figures.json"
    sections.write_text('Nature = ["rivers"]\n"Human work" = ["letters", "absent"]\n')
    arguments = ["--data", data, "--sections", str(sections), "--json", str(figures)]
    code, shown = rewardd("eval", checkpoints[0], *arguments, "--robustness-prompts", "0")
    assert code == 0, shown
    subsets = json.loads(figures.read_text())["scorers"][0]["subsets"]
    assert set(subsets["subsets"]) == {"letters", "rivers"}
    assert set(subsets["sections"]) == {"Nature", "Human work"}
    mean = sum(part["value"] for part in subsets["sections"].values()) / 2
    assert subsets["average"]["value"] == pytest.approx(mean)


def test_the_bag_of_words_never_sees_an_evaluated_prompt(
    checkpoints: list[str], data: str, tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"
    arguments = [checkpoints[0], "--data", data, "--json", str(figures)]
    code, shown = rewardd("eval", *arguments, "--train-data", data, "--robustness-prompts", "0")
    assert code == 0, shown
    names = [one["scorer"]["name"] for one in json.loads(figures.read_text())["scorers"]]
    assert "bag_of_words" not in names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/absent/model", "--data", "{data}"], "/absent/model"),
        (["{model}", "--data", "/absent.jsonl"], "/absent.jsonl"),
        (["{model}", "{model}", "--data", "{data}"], "named twice"),
        (["{model}", "--data", "{data}", "--json", "/absent/x.json"], "is no directory"),
        (["{model}", "--data", "{data}", "--markdown", "/tmp"], "is a directory"),
        (["{model}", "--data", "{data}", "--sections", "/absent.toml"], "can't be read"),
        (["{model}", "--data", "{data}", "--sections", "{data}"], "can't be read"),
        (["{model}", "--data", "{data}", "--device", "abacus"], "abacus"),
    ],
)
def test_a_wrong_call_ends_with_one_line_that_says_what_to_do(
    checkpoints: list[str], data: str, arguments: list[str], words: str
) -> None:
    given = [word.format(model=checkpoints[0], data=data) for word in arguments]
    code, shown = rewardd("eval", *given)
    assert code == 1
    assert words in shown
    assert "Traceback" not in shown


def test_a_side_without_records_is_an_error(
    checkpoints: list[str], data: str, tmp_path: Path
) -> None:
    rows = [row for row in preference_rows(8) if row["split"] == "train"]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    code, shown = rewardd("eval", checkpoints[0], "--data", str(path), "--split", "heldout")
    assert code == 1
    assert "--split all" in shown
