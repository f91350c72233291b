"""Before a model is ready: finite rewards, that differ, and are those that its maker saw."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from rm_core.checkpoint.golden import GoldenReward, read_golden, write_golden
from rm_core.checkpoint.load import RewardModel, load_reward_model
from rm_core.engine.engine import Engine
from rm_core.engine.golden import golden_rewards, refuse_unsound_rewards
from rm_core.errors import UnsoundModel
from rm_core.text.contract import ContractOverrides
from tests.models import save_checkpoint


@pytest.fixture
def model(tmp_path: Path) -> RewardModel:
    return load_reward_model(str(save_checkpoint(tmp_path / "model")), "safety")


def check(model: RewardModel) -> None:
    refuse_unsound_rewards(Engine({"safety": model}), {"safety": model})


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
def test_a_models_own_rewards_are_golden(tmp_path: Path, architecture: str) -> None:
    directory = save_checkpoint(tmp_path / "model", architecture)
    made = load_reward_model(str(directory), "safety")

    write_golden(directory, golden_rewards(made.model, made.encoder, "last_token"))
    loaded = load_reward_model(str(directory), "safety")

    assert len(loaded.golden) == 4
    assert len({one.reward for one in loaded.golden}) == 4
    check(loaded)


def test_a_mean_heads_golden_rewards_are_means(model: RewardModel) -> None:
    last = golden_rewards(model.model, model.encoder, "last_token")

    mean = golden_rewards(model.model, model.encoder, "mean")

    assert all(one.reward != other.reward for one, other in zip(last, mean, strict=True))


def test_the_models_mode_is_left_as_it_was(model: RewardModel) -> None:
    model.model.train()

    golden_rewards(model.model, model.encoder, "last_token")

    assert model.model.training


def test_other_rewards_are_refused_and_rounding_is_not(model: RewardModel) -> None:
    golden = golden_rewards(model.model, model.encoder, "last_token")
    check(replace(model, golden=tuple(replace(one, reward=one.reward + 1e-4) for one in golden)))

    with pytest.raises(UnsoundModel, match="golden_rewards"):
        check(replace(model, golden=tuple(replace(one, reward=-one.reward) for one in golden)))


def test_golden_rewards_of_another_reading_are_left_out(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model")
    write_golden(directory, [GoldenReward("a", "b", 1.0)])

    otherwise = ContractOverrides(read="last_token")
    loaded = load_reward_model(str(directory), "safety", overrides=otherwise)

    assert read_golden(directory) != ()
    assert loaded.golden == ()


@pytest.mark.parametrize(
    ("rewards", "told"),
    [([math.nan] * 4, "no finite"), ([2.5] * 4, "the same reward"), ([1.0, 2.0, 3.0, 4.0], None)],
)
def test_rewards_that_say_nothing_are_refused(
    model: RewardModel,
    rewards: list[float],
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine({"safety": model})
    given = iter(rewards)
    monkeypatch.setattr(engine, "forward", lambda _: [{"safety": (next(given),)}])

    if told is None:
        refuse_unsound_rewards(engine, {"safety": model})
        return
    with pytest.raises(UnsoundModel, match=told):
        refuse_unsound_rewards(engine, {"safety": model})


def test_a_file_of_golden_rewards_is_json_that_a_person_reads(tmp_path: Path) -> None:
    write_golden(tmp_path, [GoldenReward("a", "b", 1.0)])

    assert json.loads((tmp_path / "golden_rewards.json").read_text()) == {
        "rewards": [{"prompt": "a", "response": "b", "reward": 1.0}]
    }
