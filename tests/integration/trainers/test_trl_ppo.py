"""TRL's PPO trainer at work, and the same token rewards from /ppo_reward.

The trainer's tensors are taken where it passes them to functions of its module: the token rewards
as `masked_whiten` gets them, the log-probabilities as `selective_log_softmax` makes them, tokens
and scores as `get_reward` reads and returns them. Nothing of its arithmetic is repeated here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import LlamaForSequenceClassification
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from rm_client import RewardClient
from rm_client.adapters.ppo import ppo_reward
from tests.integration.trainers.conftest import (
    LETTERS,
    config_of,
    make_policy,
    make_reward_model,
)

BATCH = 16
BETA = 0.3
PENALTY = 0.7


@dataclass
class Update:
    """One update's tensors, as TRL had them."""

    logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    tokens: torch.Tensor
    context_length: int
    scores: torch.Tensor
    token_rewards: torch.Tensor


class Recorder:
    """Listens to the trainer's module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.updates: list[Update] = []
        self._logprobs: list[torch.Tensor] = []
        self._scored: list[tuple[torch.Tensor, int, torch.Tensor]] = []
        for name in ("selective_log_softmax", "get_reward", "masked_whiten"):
            original = getattr(ppo_trainer, name)
            monkeypatch.setattr(ppo_trainer, name, getattr(self, name)(original))

    def selective_log_softmax(self, original: Any) -> Any:
        def call(*args: Any) -> Any:
            found = original(*args)
            self._logprobs.append(found.detach().clone())
            return found

        return call

    def get_reward(self, original: Any) -> Any:
        def call(model: Any, tokens: Any, pad: int, context_length: int) -> Any:
            found = original(model, tokens, pad, context_length)
            self._scored.append((tokens.clone(), context_length, found[1].clone()))
            return found

        return call

    def masked_whiten(self, original: Any) -> Any:
        def call(values: Any, mask: Any, shift_mean: bool = True) -> Any:
            if not shift_mean:  # the rewards; the advantages come with True
                own, ref = self._logprobs[-2:]
                tokens, context_length, scores = self._scored[-1]
                self.updates.append(
                    Update(own, ref, tokens, context_length, scores, values.clone())
                )
            return original(values, mask, shift_mean)

        return call


def train(recorder: Recorder, tokenizer: Any, directory: Path, kl_estimator: str) -> list[Update]:
    prompts = [f"{first}{second} " for first in LETTERS[:8] for second in LETTERS[8:16]]
    dataset = Dataset.from_dict({"input_ids": [tokenizer(prompt).input_ids for prompt in prompts]})
    torch.manual_seed(1)
    value_model = LlamaForSequenceClassification(
        config_of(
            tokenizer,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            num_labels=1,
        )
    )
    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=str(directory),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            local_rollout_forward_batch_size=BATCH,
            total_episodes=3 * BATCH,
            num_ppo_epochs=1,
            response_length=10,
            learning_rate=3e-3,
            stop_token="eos",
            kl_coef=BETA,
            kl_estimator=kl_estimator,
            missing_eos_penalty=PENALTY,
            whiten_rewards=True,
            num_sample_generations=0,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=0,
        ),
        processing_class=tokenizer,
        model=make_policy(tokenizer),
        ref_model=make_policy(tokenizer, seed=7),
        reward_model=make_reward_model(tokenizer),
        value_model=value_model,
        train_dataset=dataset,
        eval_dataset=dataset,
    )
    trainer.train()
    return recorder.updates


@pytest.mark.parametrize("kl_estimator", ["k1", "k3"])
def test_token_rewards_are_those_of_trls_ppo(
    kl_estimator: Any,
    server_url: str,
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    updates = train(Recorder(monkeypatch), tokenizer, tmp_path, kl_estimator)
    assert len(updates) == 3
    num_cut = num_finished = 0
    for update in updates:
        prompts, responses, finished = [], [], []
        tokens = update.tokens[:, update.context_length :]
        is_padding = tokens == tokenizer.pad_token_id
        mask = is_padding.cumsum(1) == 0
        for row in range(BATCH):
            prompt = update.tokens[row, : update.context_length]
            prompts.append(tokenizer.decode(prompt[prompt != tokenizer.pad_token_id]))
            # With its EOS, which TRL's reward model reads too.
            responses.append(tokenizer.decode(tokens[row][mask[row]]))
            finished.append(bool((tokens[row] == tokenizer.eos_token_id).any()))
        found = ppo_reward(
            RewardClient(server_url),
            prompts,
            responses,
            update.logprobs,
            update.ref_logprobs,
            mask,
            score_position="after_last",
            on_failed="zero",
            per_item={"finished": finished},
            beta=BETA,
            kl_estimator=kl_estimator,
            whiten="none",
            missing_eos_penalty=PENALTY,
        )
        assert not found.failed.any()
        scored = mask.any(1)  # where the first token was padding, TRL reads another position
        torch.testing.assert_close(
            found.whitened[scored], update.scores[scored], atol=1e-5, rtol=0.0
        )
        torch.testing.assert_close(
            found.token_rewards[scored], update.token_rewards[scored], atol=1e-5, rtol=0.0
        )
        num_finished += sum(finished)
        num_cut += BATCH - sum(finished)
    # Both of TRL's places for the score, and the penalty, were there to be compared.
    assert num_finished > 0
    assert num_cut > 0
