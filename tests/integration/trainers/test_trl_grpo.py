"""TRL's own trainers, with rewards over HTTP from a real server."""

import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from rm_client import RewardClient
from rm_client.adapters.trl import trl_reward, trl_reward_sync
from tests.integration.trainers.conftest import LETTERS, ROOT, make_policy

STEPS = 16


def settings(directory: Path) -> dict[str, Any]:
    return {
        "output_dir": str(directory),
        "use_cpu": True,
        "per_device_train_batch_size": 32,
        "num_generations": 8,
        "max_completion_length": 16,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 0,
        "bf16": False,
    }


def dataset() -> Dataset:
    prompts = [f"{first}{second} " for first in LETTERS[:8] for second in LETTERS[8:16]]
    # Columns that no server should see, objects among them.
    return Dataset.from_dict(
        {
            "prompt": prompts,
            "is_safety": [False] * len(prompts),
            "answer": [{"nested": [1, 2]}] * len(prompts),
        }
    )


def rewards_of(trainer: Any) -> list[float]:
    return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]


def test_grpo_learns_what_the_reward_model_likes(
    server_url: str, tokenizer: Any, tmp_path: Path
) -> None:
    reward = trl_reward(server_url, eos_token_id=tokenizer.eos_token_id)
    trainer = GRPOTrainer(
        model=make_policy(tokenizer),
        reward_funcs=reward,
        args=GRPOConfig(**settings(tmp_path), beta=0.0),
        train_dataset=dataset(),
        processing_class=tokenizer,
    )
    trainer.train()
    rewards = rewards_of(trainer)
    assert len(rewards) == STEPS
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 1.0
    assert all("rewards/rewardd/mean" in e for e in trainer.state.log_history if "reward" in e)


def test_grpo_takes_the_streams_whitened_reward_and_the_penalty(
    server_url: str, tokenizer: Any, tmp_path: Path
) -> None:
    reward = trl_reward(
        server_url,
        eos_token_id=tokenizer.eos_token_id,
        missing_eos_penalty=0.1,
        stream="grpo-whitened",
    )
    trainer = GRPOTrainer(
        model=make_policy(tokenizer),
        reward_funcs=reward,
        args=GRPOConfig(**{**settings(tmp_path), "max_steps": 2}, beta=0.0),
        train_dataset=dataset(),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    # A completion that is nothing but EOS is scored too.
    assert [entry["rewardd/failed"] for entry in logged] == [0.0, 0.0]
    assert RewardClient(server_url).get_stream("grpo-whitened").num_samples == 2 * 32


@pytest.mark.parametrize("make", [trl_reward, trl_reward_sync])
def test_rloo_learns_what_the_reward_model_likes(
    make: Any, server_url: str, tokenizer: Any, tmp_path: Path
) -> None:
    trainer = RLOOTrainer(
        model=make_policy(tokenizer),
        reward_funcs=make(server_url),
        args=RLOOConfig(**settings(tmp_path), beta=0.0),
        train_dataset=dataset(),
        processing_class=tokenizer,
    )
    trainer.train()
    rewards = rewards_of(trainer)
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.5


def test_online_dpo_takes_the_plain_function(
    server_url: str, tokenizer: Any, tmp_path: Path
) -> None:
    trainer = OnlineDPOTrainer(
        model=make_policy(tokenizer),
        ref_model=make_policy(tokenizer),
        reward_funcs=trl_reward_sync(server_url),
        args=OnlineDPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=16,
            max_new_tokens=12,
            max_length=32,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            max_steps=STEPS,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=dataset(),
        processing_class=tokenizer,
    )
    trainer.train()
    rewards = [
        entry["objective/rlhf_reward"]
        for entry in trainer.state.log_history
        if "objective/rlhf_reward" in entry
    ]
    assert len(rewards) == STEPS
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.3, rewards


def test_the_documentations_example_trains(server_url: str, tokenizer: Any, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guides" / "trainers" / "trl.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    scope = {
        "GRPOTrainer": GRPOTrainer,
        "model": make_policy(tokenizer),
        "args": GRPOConfig(**{**settings(tmp_path), "max_steps": 1}),
        "dataset": dataset(),
        "tokenizer": tokenizer,
    }
    exec(example.replace("http://localhost:8000", server_url), scope)
    trainer: Any = scope["trainer"]
    trainer.train()
    assert len(rewards_of(trainer)) == 1
