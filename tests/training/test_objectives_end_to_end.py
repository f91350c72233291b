"""Trainings on other things than pairs, from the file to the served reward."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.checkpoint.load import load_reward_model
from rm_core.checkpoint.manifest import read_manifest
from rm_core.engine import load_engine
from rm_core.types import Dialogue
from tests.rewards import own_rewards
from tests.training.cli.commands import rewardd
from tests.training.samples import preference_rows, write_jsonl
from training.config import TrainingConfig, load_config
from training.losses import OBJECTIVES, parse_objectives
from training.modeling.reward_model import reward_model_from
from training.pipeline import TrainingResult, train_reward_model


def trained(
    directory: Path, base: Path, rows: list[dict[str, Any]], **options: Any
) -> tuple[TrainingConfig, TrainingResult]:
    config = load_config(
        None,
        {
            "role": "helpfulness",
            "data": [str(write_jsonl(directory / "data.jsonl", rows))],
            "base": str(base),
            "output": str(directory / "model"),
            "max_length": 128,
            "epochs": 8.0,
            "learning_rate": 3e-3,
            "batch_size": 4,
            "gradient_accumulation": 1,
            "report": False,
            **options,
        },
    )
    return config, train_reward_model(config)


def rated_rows() -> list[dict[str, Any]]:
    """One response a row: kind ones are rated 2, rude ones −2."""
    return [
        {**row, "id": f"{row['id']}-{i}", "responses": [text], "ranking": [0], "is_safe": None}
        | {"strength": None, "ratings": [2.0 if text.startswith("Gladly") else -2.0]}
        for row in preference_rows(24)
        for i, text in enumerate(row["responses"])
    ]


def test_ratings_of_single_responses_train_a_model_that_gives_them(
    tiny_base: Path, tmp_path: Path
) -> None:
    config, result = trained(
        tmp_path, tiny_base, rated_rows(), objective=["regression", "l2=0.001"], head="mean"
    )

    assert result.figures.pairs is None
    assert result.figures.ratings.mean_squared_error < 0.25 * result.figures.ratings.variance
    assert not result.report.dropped
    manifest = read_manifest(Path(config.output))
    assert manifest.head == "mean"
    assert "No pairs" in (Path(config.output) / "README.md").read_text()
    engine = load_engine({"helpfulness": config.output})
    kind, rude = (
        Dialogue("Tell me about maps.", text)
        for text in ("Gladly: maps are fine, let me explain.", "Go away: maps are dull.")
    )
    rewards = own_rewards(engine, [engine.encode(kind), engine.encode(rude)])
    assert rewards[0]["helpfulness"] > 0 > rewards[1]["helpfulness"]


def test_what_is_measured_in_training_is_what_a_mean_head_serves(
    tiny_base: Path, tmp_path: Path
) -> None:
    config, result = trained(
        tmp_path, tiny_base, preference_rows(16), head="mean", epochs=1.0, objective=["kwise"]
    )
    engine = load_engine({"helpfulness": config.output})
    heldout = [row for row in preference_rows(16) if row["split"] == "heldout"]
    items = [
        engine.encode(Dialogue(row["prompt"], text)) for row in heldout for text in row["responses"]
    ]
    rewards = [found["helpfulness"] for found in own_rewards(engine, items)]
    assert sum(rewards) / len(rewards) == pytest.approx(result.figures.reward_mean, abs=1e-5)


def stepped_rows() -> list[dict[str, Any]]:
    """Responses of two steps, kind or rude; kind steps are good, and as often first as second.

    On both sides of the split: held-out rows are every fourth one.
    """
    rows = []
    for number, row in enumerate(preference_rows(32)):
        order = (-1) ** (number // 4)
        first, second = (f"{text}. " for text in sorted(row["responses"])[::order])
        labels = [float(text.startswith("Gladly")) for text in (first, second)]
        ends = [len(first.rstrip()), len((first + second).rstrip())]
        steps = [{"end": e, "label": y} for e, y in zip(ends, labels, strict=True)]
        rows.append(
            {
                **row,
                "responses": [(first + second).rstrip()],
                "ranking": [0],
                "strength": None,
                "is_safe": None,
                "steps": [steps],
            }
        )
    return rows


def test_labelled_steps_train_a_process_reward_model(tiny_base: Path, tmp_path: Path) -> None:
    config, result = trained(
        tmp_path, tiny_base, stepped_rows(), objective=["steps"], head="per_token", max_length=128
    )
    # Held-out prompts are of things that no training row names, which moves all rewards of a
    # response together; every good step is above every bad one nevertheless.
    assert result.figures.steps.steps.auc.value == 1.0
    assert result.report.splits["train"].steps > 0
    manifest = read_manifest(Path(config.output))
    assert manifest.head == "per_token"


def test_tokens_of_pairs_train_a_model_that_orders_them(tiny_base: Path, tmp_path: Path) -> None:
    config, result = trained(
        tmp_path,
        tiny_base,
        preference_rows(32),
        objective=["token_bradley_terry", "centering=0.01"],
        head="per_token",
    )
    assert result.figures.pairs.accuracy.value == 1.0
    engine = load_engine({"helpfulness": config.output})
    kind, rude = (
        engine.encode(Dialogue("Tell me about maps.", text, read_at="tokens"))
        for text in ("Gladly: maps are fine.", "Go away: maps are dull.")
    )
    better, worse = (found["helpfulness"] for found in engine.forward([kind, rude]))
    assert sum(better[1:]) / len(better[1:]) > sum(worse[1:]) / len(worse[1:])


def rows_of_everything() -> list[dict[str, Any]]:
    """Rankings of three, with ratings, steps, labels and a grade: something for every objective."""
    rows = []
    for row in preference_rows(16):
        responses = [*row["responses"], f"Well: {row['prompt']} Perhaps."]
        ranking = [*row["ranking"], 2]
        steps = [
            [{"end": 5, "label": 1.0}, {"end": len(text), "label": float(rank == 0)}]
            for text, rank in zip(responses, ranking, strict=True)
        ]
        known = {"ratings": [2.0 - rank for rank in ranking], "steps": steps}
        is_safe = [*row["is_safe"], None]
        rows.append(
            {**row, "responses": responses, "ranking": ranking, "is_safe": is_safe, **known}
        )
    return rows


def by_command(directory: Path, base: Path, *objectives: str) -> tuple[Path, list[dict[str, Any]]]:
    """The checkpoint that `rewardd train` writes, and what it logged at each update."""
    output, settings = directory / "model", directory / "settings.toml"
    settings.write_text("logging_steps = 1\n")
    arguments = ["train", "--config", str(settings), "--role", "safety", "--base", str(base)]
    arguments += ["--data", str(write_jsonl(directory / "data.jsonl", rows_of_everything()))]
    arguments += ["--output", str(output), "--max-length", "128", "--learning-rate", "1e-3"]
    arguments += ["--batch-size", "4", "--gradient-accumulation", "1", "--save-steps", "3"]
    arguments += ["--calibration", "none", "--no-report"]
    if any(name.partition("=")[0] in {"steps", "token_bradley_terry"} for name in objectives):
        arguments += ["--head", "per_token"]
    for name in objectives:
        arguments += ["--objective", name]

    code, shown = rewardd(*arguments)

    assert code == 0, shown
    state = json.loads(
        (directory / "model.run" / "checkpoint-3" / "trainer_state.json").read_text()
    )
    return output, [entry for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_command_trains_every_objective(tiny_base: Path, tmp_path: Path, name: str) -> None:
    named = [name] if not OBJECTIVES[name].regularises else [f"{name}=0.5", "hinge"]

    output, log = by_command(tmp_path, tiny_base, *named)

    manifest = read_manifest(output)
    weights = parse_objectives(named)
    assert manifest.training["objectives"] == weights
    untrained = reward_model_from(str(tiny_base), max_length=128, seed=0).model
    trained = load_reward_model(str(output), "safety").model
    assert not torch.equal(trained.score.weight, untrained.score.weight)
    assert len(log) == 3
    for update in log:
        assert math.isfinite(update["loss"])
        own = [weight * update[f"loss_{n}"] for n, weight in weights.items() if len(weights) > 1]
        assert sum(own) == pytest.approx(update["loss"], abs=1e-4) or len(own) == 0


def test_the_command_trains_all_objectives_together_each_by_its_weight(
    tiny_base: Path, tmp_path: Path
) -> None:
    weights = {name: 0.1 * (place + 1) for place, name in enumerate(OBJECTIVES)}

    _, log = by_command(tmp_path, tiny_base, *(f"{name}={w}" for name, w in weights.items()))

    for update in log:
        each = {name: update[f"loss_{name}"] for name in weights}
        assert all(loss > 0 for loss in each.values())
        assert sum(weights[name] * loss for name, loss in each.items()) == pytest.approx(
            update["loss"], rel=1e-4
        )


def test_random_labels_leave_held_out_accuracy_at_chance(tiny_base: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = preference_rows(128)
    for row in rows:
        row["ranking"] = rng.choice([[0, 1], [1, 0]])
    _, result = trained(tmp_path, tiny_base, rows, epochs=3.0)
    assert not result.figures.pairs.accuracy.excludes_chance
    assert result.figures.pairs.accuracy.pairs == 32
