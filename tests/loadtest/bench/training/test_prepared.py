import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from loadtest.bench.training import prepared as module
from loadtest.bench.training.prepared import add_head, make_base, prepare
from loadtest.bench.training.settings import TrainingSettings
from loadtest.errors import LoadTestError
from tests.adapters import save_base
from tests.loadtest.bench.training.made_up import pair, prepared_of, write_rows
from tests.models import make_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = save_base(tmp_path_factory.mktemp("base") / "base")
    make_tokenizer(chat=True).save_pretrained(directory)
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_rows(tmp_path / "safety_pairs.jsonl.gz", [pair(f"question {i}") for i in range(60)])
    rows = [
        {"prompt": f"ask {i}", "responses": ["a", "b", "c", "d"], "ranking": [0, 1, 1, 2]}
        for i in range(60)
    ]
    write_rows(tmp_path / "helpfulness_kway.jsonl.gz", rows)
    return tmp_path


def test_a_head_is_drawn_once_and_kept(base: Path, tmp_path: Path):
    place = add_head(base, tmp_path / "head")
    model = AutoModelForSequenceClassification.from_pretrained(place)
    drawn = model.score.weight.detach()

    add_head(base, place, seed=1)  # it stands, so it stays
    again = AutoModelForSequenceClassification.from_pretrained(place)

    assert torch.equal(again.score.weight, drawn)
    assert drawn.shape == (1, 32)
    assert 0.5 < float(drawn.std()) * 33**0.5 < 1.5
    assert model.config.pad_token_id not in {None, model.config.eos_token_id}


@pytest.mark.parametrize(("name", "pairs_each"), [("pairs", 1), ("kwise", 5)])
def test_both_files_hold_the_train_side_and_only_ours_the_other(
    base: Path, data: Path, monkeypatch: pytest.MonkeyPatch, name: str, pairs_each: int
):
    monkeypatch.setattr(module, "make_base", lambda _: base)

    found = prepare(name, TrainingSettings(data, records=20, directory=data / "built"))

    rows = [json.loads(line) for line in found.rankings_file.read_text().splitlines()]
    pairs = [json.loads(line) for line in found.pairs_file.read_text().splitlines()]
    assert len(found.train) == 20
    assert [row["split"] for row in rows].count("train") == 20
    assert len(pairs) == found.num_pairs == 20 * pairs_each
    prompts = {
        side: [r["prompt"] for r in rows if r["split"] == side] for side in ("train", "heldout")
    }
    assert all(row["prompt"] in prompts["train"] for row in pairs)
    assert not [prompt for prompt in prompts["train"] if prompt in prompts["heldout"]]
    assert len(found.heldout) == len(prompts["heldout"]) > 0


def test_the_base_is_made_by_our_own_command_from_the_train_side(
    data: Path, monkeypatch: pytest.MonkeyPatch
):
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        output = Path(command[command.index("--output") + 1])
        output.mkdir()
        (output / "config.json").write_text("{}")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(module.subprocess, "run", run)
    settings = TrainingSettings(data, hidden=32, layers=1, directory=data)

    first, second = make_base(settings), make_base(settings)
    other = make_base(replace(settings, hidden=64))

    assert first == second != other
    assert len(commands) == 2  # what stands is kept
    assert commands[0][2:5] == ["-m", "rewardd", "make-base"]
    assert commands[0][commands[0].index("--hidden") + 1] == "32"
    texts = (settings.place / "base-texts.jsonl").read_text().splitlines()
    assert {json.loads(text)["split"] for text in texts} == {"train", "heldout"}


def test_a_base_that_can_not_be_made_says_why(data: Path, monkeypatch: pytest.MonkeyPatch):
    failed = type("Done", (), {"returncode": 1, "stderr": "disk full"})
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: failed)

    with pytest.raises(LoadTestError, match="disk full"):
        make_base(TrainingSettings(data, directory=data))


@pytest.mark.parametrize(
    ("rankings", "responses", "workload"),
    [(686, 3, "kwise"), (640, 2, "pairs"), (7, 3, "kwise"), (1, 3, "kwise")],
)
def test_pairs_and_their_rankings_make_equally_many_updates(
    rankings: int, responses: int, workload: str
):
    found = prepared_of(Path(), workload, *[tuple(range(responses))] * rankings)

    theirs = -(-found.num_pairs // found.pairs_batch)
    assert found.updates == -(-rankings // found.workload.batch)
    assert abs(theirs - found.updates) <= 0.05 * found.updates
    assert 1 <= found.warmup <= max(1, found.updates // 10)
    assert responses > 2 or found.pairs_batch == found.workload.batch
