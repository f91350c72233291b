"""`rewardd data`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.cli.commands import rewardd
from tests.training.modeling.test_reward_model import save_encoder
from tests.training.samples import preference_rows, write_jsonl
from training.data.formats import read_records
from training.data.prepare import DataOptions, prepare_data
from training.modeling.reward_model import reward_model_from


def test_the_report_is_printed_and_written(tmp_path: Path, preferences: Path) -> None:
    written = tmp_path / "report.json"

    code, output = rewardd("data", str(preferences), "--json", str(written))

    assert code == 0
    assert "24 pairs of 48 responses" in output
    assert "characters in the middle" in output
    row = preference_rows(32)[0]
    assert " as it was understood: prompt" in output
    best, worst = (row["responses"][row["ranking"].index(rank)] for rank in (0, 1))
    assert f"chosen {best} is_safe True rejected {worst} is_safe False" in output
    report = json.loads(written.read_text())
    assert report["splits"]["heldout"]["pairs"] == 8
    assert report["length_unit"] == "characters"
    assert "understood" not in rewardd("data", str(preferences), "--rows", "0")[1]


def test_with_a_base_lengths_are_its_tokens_and_its_limit_holds(
    preferences: Path, tiny_base: Path
) -> None:
    code, output = rewardd("data", str(preferences), "--base", str(tiny_base))
    assert code == 0
    assert "tokens in the middle" in output

    code, output = rewardd("data", str(preferences), "--base", str(tiny_base), "--max-length", "16")
    assert code == 0  # a report of nothing is a report
    assert "64 × longer than max_length" in output


def test_an_encoder_reads_dialogues_as_training_gives_them_to_it(tmp_path: Path) -> None:
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    rows = [
        {
            "prompt": [*before, {"role": "user", "content": f"Why {n}?"}],
            "responses": ["Because it is so.", "No."],
            "ranking": [0, 1],
            "split": "heldout" if n < 2 else "train",
        }
        for n in range(8)
    ]
    written = tmp_path / "report.json"
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    base = save_encoder(tmp_path / "base")

    code, output = rewardd("data", str(data), "--base", base, "--json", str(written))

    assert code == 0, output
    report = json.loads(written.read_text())
    start = reward_model_from(base, max_length=1024, seed=0)
    trained = prepare_data(
        read_records([data]), start.encoder, DataOptions(role="helpfulness")
    ).report
    assert report["splits"] == trained.to_json()["splits"]
    assert report["dropped_counts"] == {}


def test_data_of_single_judgements_is_counted_too(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n}?", "completions": ["One.", "Two."], "labels": [True, False]}
        for n in range(8)
    ]

    code, output = rewardd("data", str(write_jsonl(tmp_path / "steps.jsonl", rows)))

    assert code == 0
    assert "labelled steps" in output


def test_a_mixture_is_drawn_and_told(tmp_path: Path) -> None:
    texts = [
        f"{write_jsonl(tmp_path / f'{name}.jsonl', preference_rows(16))},kind={kind}"
        for name, kind in (("a", "own_safety"), ("b", "open_helpfulness"))
    ]

    code, output = rewardd("data", *texts, "--role", "safety", "--mixture", "llama2_safety")

    assert code == 0
    assert "mixture: 12 of 12 training records of safety" in output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["absent.jsonl"], 1, "absent.jsonl does not exist"),
        (["{data}", "--role", "wit"], 2, "one of 'safety'"),
        (["{data}", "--mixture", "soup"], 2, "--mixture"),
        (["{data}", "--json", "/nowhere/at/all.json"], 1, "can't write"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    preferences: Path, arguments: list[str], status: int, message: str
) -> None:
    code, output = rewardd("data", *[part.format(data=preferences) for part in arguments])

    assert code == status
    assert message in output


def test_json_is_reported_without_torch(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "responses": ["a", "b"], "ranking": [0, 1]} for n in range(9)]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    code = (
        "import sys; from rewardd.cli import app\n"
        "app(['data', sys.argv[1]], standalone_mode=False)\n"
        "assert sys.modules.keys().isdisjoint({'torch', 'transformers', 'datasets', 'pyarrow'})"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data.json")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "canonical" in ran.stdout
