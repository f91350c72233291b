import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from rm_core.checkpoint.load import load_reward_model
from rm_core.errors import ConfigurationError, NotSaved
from rm_core.types import Dialogue
from tests.training.samples import preference_rows, write_jsonl
from training.config import TrainingConfig
from training.data.formats import read_records
from training.data.prepare import DataOptions, prepare_data
from training.errors import DataError
from training.evaluation import score_examples
from training.modeling.reward_model import encoder_from, reward_model_from
from training.pipeline import TrainingResult, train_reward_model

Trained = tuple[TrainingConfig, TrainingResult]


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("trained")
    data = write_jsonl(directory / "preferences.jsonl", preference_rows(32))
    config = TrainingConfig(
        role="safety",
        data=(str(data),),
        base=str(tiny_base),
        output=str(directory / "safety"),
        max_length=128,
        epochs=8.0,
        learning_rate=3e-3,
        batch_size=4,
        gradient_accumulation=1,
        report=False,
    )
    return config, train_reward_model(config)


def test_rewards_after_loading_equal_those_measured_before_saving(trained: Trained) -> None:
    config, result = trained
    loaded = load_reward_model(config.output, "safety")
    data = prepare_data(
        read_records([Path(config.data[0])]), loaded.encoder, DataOptions(role="safety")
    )
    rewards = score_examples(
        loaded.model, data.heldout, pad_token_id=loaded.model.config.pad_token_id
    )
    flat = torch.tensor([value for given in rewards for value in given], dtype=torch.float64)
    assert flat.mean().item() == result.figures.reward_mean
    assert data.report.fingerprint == result.manifest.data["fingerprint"]


def test_the_checkpoint_holds_what_the_design_asks_for(trained: Trained) -> None:
    config, result = trained
    output = Path(config.output)
    raw = json.loads((output / "config.json").read_text())
    assert raw["num_labels"] == 1
    assert raw["architectures"] == ["LlamaForSequenceClassification"]
    assert (raw["mean"], raw["std"]) == (
        result.figures.reward_mean,
        result.figures.reward_std,
    )
    with safe_open(output / "model.safetensors", framework="pt") as file:
        assert "score.weight" in file.keys()  # noqa: SIM118 - no mapping
    manifest = json.loads((output / "reward_model.json").read_text())
    assert manifest["role"] == "safety"
    assert manifest["base_model"]["name"] == config.base
    assert manifest["training"]["learning_rate"] == config.learning_rate
    assert manifest["baseline"]["mean"] == result.figures.reward_mean
    assert "held-out" in manifest["baseline_source"]
    assert set(manifest["metrics"]["baselines"]) == {"longer_wins", "shorter_wins", "bag_of_words"}
    found = (path for path in output.rglob("*") if path.is_file())
    files = {path.relative_to(output).as_posix() for path in found} - {"reward_model.json"}
    assert set(manifest["files"]) == files
    assert result.page is None  # no report was wanted
    assert not list(output.parent.rglob("*.png"))
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((output / name).read_bytes()).hexdigest() == digest


def test_the_learnable_rule_is_learned_on_held_out_prompts(trained: Trained) -> None:
    _, result = trained
    assert result.figures.pairs.accuracy.value == 1.0
    assert result.baselines["bag_of_words"].value == 1.0
    assert result.baselines["longer_wins"].value <= 0.7


def test_training_twice_gives_the_same_weights(trained: Trained, tmp_path: Path) -> None:
    config, result = trained
    again = train_reward_model(replace(config, output=str(tmp_path / "again")))
    digest = "model.safetensors"
    assert again.manifest.files[digest] == result.manifest.files[digest]


def test_a_directory_that_is_no_checkpoint_of_ours_is_left_alone(
    trained: Trained, tmp_path: Path
) -> None:
    config, _ = trained
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="left alone"):
        train_reward_model(replace(config, output=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_finished_model_is_replaced_only_when_that_is_said(
    trained: Trained, tmp_path: Path
) -> None:
    config, result = trained
    output = shutil.copytree(config.output, tmp_path / "finished")
    absent = replace(config, output=str(output), data=("absent.jsonl",))
    with pytest.raises(ConfigurationError, match=r"finished model.*--overwrite"):
        train_reward_model(absent)  # before anything is read
    with pytest.raises(ConfigurationError, match="finished model"):
        train_reward_model(replace(absent, resume=True))

    replaced = train_reward_model(
        replace(config, output=str(output), seed=1, epochs=0.5, overwrite=True)
    )

    digest = "model.safetensors"
    assert replaced.manifest.files[digest] != result.manifest.files[digest]
    assert load_reward_model(str(output), "safety").manifest == replaced.manifest


def test_a_failed_training_leaves_no_checkpoint(
    trained: Trained, tmp_path: Path, monkeypatch: Any
) -> None:
    from training.publishing import publish as publishing

    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(publishing, "write_manifest", fail)
    config, _ = trained
    with pytest.raises(NotSaved, match=r"space.*make room"):
        train_reward_model(replace(config, output=str(tmp_path / "out"), epochs=1.0))
    assert not (tmp_path / "out").exists()


def test_the_card_s_lines_of_python_give_the_served_reward(trained: Trained) -> None:
    config, _ = trained
    card = (Path(config.output) / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    dialogue = Dialogue("Why?", "Because.")
    names: dict[str, Any] = {
        "directory": config.output,
        "messages": [
            {"role": "user", "content": dialogue.prompt},
            {"role": "assistant", "content": dialogue.response},
        ],
    }
    exec(code, names)  # our own card, as a reader would paste it
    served = load_reward_model(config.output, "safety")
    ids = torch.tensor([served.encoder.encode(dialogue).input_ids])
    with torch.inference_mode():
        assert names["reward"].item() == served.model(input_ids=ids).logits.item()


def test_data_without_a_usable_row_is_an_error_before_the_base_is_looked_for(
    tmp_path: Path,
) -> None:
    data = tmp_path / "empty.jsonl"
    data.write_text("{\n")
    config = TrainingConfig(
        role="safety", data=(str(data),), base="absent/base", output=str(tmp_path / "out")
    )

    with pytest.raises(DataError, match=r"empty\.jsonl:1"):
        train_reward_model(config)


NOTHING_LEFT: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "identical": ([{"prompt": "p", "chosen": "same", "rejected": "same"}], {}, "train on:"),
    "too long": (
        [{"prompt": "p", "chosen": "a " * 400, "rejected": "b " * 400}],
        {},
        "raise `max_length`",
    ),
    "other targets": (
        [{"prompt": "p", "chosen": "a", "rejected": "b"}],
        {"objectives": {"regression": 1.0}},
        "`ratings` for regression",
    ),
    "all held out": (
        [{"prompt": "p", "responses": ["a", "b"], "ranking": [0, 1], "split": "heldout"}],
        {},
        "train on",
    ),
    "none held out": (
        [{"prompt": "p", "responses": ["a", "b"], "ranking": [0, 1], "split": "train"}],
        {},
        "evaluate on",
    ),
}


@pytest.mark.parametrize(("rows", "options", "told"), NOTHING_LEFT.values(), ids=NOTHING_LEFT)
def test_data_of_which_nothing_is_left_are_an_error_before_any_weight_is_loaded(
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    options: dict[str, Any],
    told: str,
) -> None:
    from training import pipeline

    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(pipeline, "reward_model_from", loaded)
    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / "model.safetensors").write_bytes(b"torn")  # and could not be
    config = TrainingConfig(
        role="helpfulness",
        data=(str(write_jsonl(tmp_path / "rows.jsonl", rows)),),
        base=str(base),
        output=str(tmp_path / "out"),
        **options,
    )

    with pytest.raises(DataError, match=told):
        train_reward_model(config)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"resume": True}, "nothing to resume"),
        ({"trainable": "qlora"}, "CUDA"),
        ({"precision": "bf16"}, "--precision fp32"),
    ],
)
def test_what_the_data_would_not_change_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = TrainingConfig(
        role="safety", data=("absent.jsonl",), base="absent", output=str(tmp_path / "o"), **options
    )

    with pytest.raises(ConfigurationError, match=told):
        train_reward_model(config)


def test_the_ids_that_are_trained_on_are_those_of_the_loaded_model(tiny_base: Path) -> None:
    loaded = reward_model_from(str(tiny_base), max_length=100, seed=0).encoder
    alone = encoder_from(str(tiny_base), max_length=100)

    assert alone.contract == loaded.contract
    assert alone.tokenizer_fingerprint == loaded.tokenizer_fingerprint
    assert alone.pad_token_id == loaded.pad_token_id


def test_a_limit_that_no_dialogue_fits_is_refused_by_its_name(tiny_base: Path) -> None:
    with pytest.raises(ConfigurationError, match="`max_length` is 3, and a dialogue"):
        encoder_from(str(tiny_base), max_length=3)


def test_a_mixture_is_drawn_for_training_and_kept_in_the_report(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = preference_rows(32)
    own = write_jsonl(tmp_path / "own.jsonl", rows[:16])
    rest = write_jsonl(tmp_path / "rest.jsonl", rows[16:])
    config = TrainingConfig(
        role="safety",
        data=(f"{own},kind=own_safety", f"{rest},kind=open_helpfulness"),
        mixture="llama2_safety",
        base=str(tiny_base),
        output=str(tmp_path / "safety"),
        max_length=128,
        epochs=0.5,
        report=False,
    )

    report = train_reward_model(config).report

    assert [part.drawn for part in report.mixture.parts] == [12, 1]
    assert report.splits["train"].records == 13
    assert report.splits["heldout"].records == 8
    written = json.loads((tmp_path / "safety" / "data_report.json").read_text())
    assert written["mixture"]["name"] == "llama2_safety"
