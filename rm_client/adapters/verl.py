"""Reward functions and a reward manager for verl.

`RewarddManager` (`reward.reward_manager.source=importlib`, `module.path` this file) gets the prompt
with every sample. The functions (`reward.custom_reward_function.path` this file) do not: for them
the dataset's preprocessing must put it, a text or a list of messages, into `extra_info["prompt"]`.
`extra_info["is_safety"]` is read by all where it is there.
"""

from collections.abc import Mapping
from typing import Any

from rm_client.adapters.environment import environment_config, failed_reward
from rm_client.adapters.sample_reward import SampleReward
from rm_client.adapters.samples import Reading, entry_of, score, score_async
from rm_client.errors import InvalidRequest
from rm_client.models import ScoreResult

_PLAIN = Reading()  # solutions come without special tokens, prompts as they stand in the dataset


async def compute_score(
    data_source: str,  # noqa: ARG001 (verl's signature)
    solution_str: str,
    ground_truth: Any,  # noqa: ARG001
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    prompt_key: str = "prompt",
    **_: Any,
) -> dict[str, float]:
    """Score one solution, by the contract of verl's reward managers.

    Args:
        data_source: not used.
        solution_str: the response, decoded without special tokens.
        ground_truth: not used.
        extra_info: holds the prompt.
        url: the server's address, from `custom_reward_function.reward_kwargs`; the variable
            RM_CLIENT_URL goes before it.
        prompt_key: the prompt's key in `extra_info`.

    Returns:
        "score" and what else is worth plotting; always the same keys, as verl takes the first
        sample's for all.

    Raises:
        InvalidRequest: there is no prompt, or no address.
        ItemsFailed: a sample can't be scored, and RM_CLIENT_FAILED_REWARD is not set.
        RewardClientError: the server gives no answer.
    """
    extra = extra_info or {}
    prompt = _prompt(extra, prompt_key)
    entry = entry_of(prompt, solution_str, _PLAIN, is_safety=extra.get("is_safety"))
    return _plain(await score_async(environment_config(url), [entry], _PLAIN))


def compute_score_sync(
    data_source: str,  # noqa: ARG001 (verl's signature)
    solution_str: str,
    ground_truth: Any,  # noqa: ARG001
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str | None = None,
    prompt_key: str = "prompt",
    **_: Any,
) -> dict[str, float]:
    """As `compute_score`, a plain function, as `reward_manager.name=remote` needs it."""
    extra = extra_info or {}
    prompt = _prompt(extra, prompt_key)
    entry = entry_of(prompt, solution_str, _PLAIN, is_safety=extra.get("is_safety"))
    return _plain(score(environment_config(url), [entry], _PLAIN))


class RewarddManager:
    """verl's reward manager whose rewards are the server's; it has the prompt from the rollout.

    Args:
        config: verl's; `reward.reward_kwargs.url` is the server's address where RM_CLIENT_URL is
            not set.
        tokenizer: the policy's, which decodes the responses.
        **_: what else verl hands to reward managers.
    """

    def __init__(self, config: Any, tokenizer: Any, **_: Any) -> None:
        kwargs = config.reward.get("reward_kwargs") or {}
        self._config = environment_config(kwargs.get("url"))
        self._tokenizer = tokenizer

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Score the last sequence of a `DataProto`, as verl's own managers do.

        Returns:
            "reward_score" and "reward_extra_info", always with the same keys.

        Raises:
            ItemsFailed: it can't be scored, and RM_CLIENT_FAILED_REWARD is not set.
            RewardClientError: the server gives no answer.
        """
        sample = data[-1:][0]
        rest = sample.non_tensor_batch
        ids = sample.batch["responses"]
        num_valid = sample.batch["attention_mask"][-ids.shape[-1] :].sum()
        response = self._tokenizer.decode(ids[:num_valid], skip_special_tokens=True)
        extra = rest.get("extra_info") or {}
        entry = entry_of(rest["raw_prompt"], response, _PLAIN, is_safety=extra.get("is_safety"))
        found = _plain(await score_async(self._config, [entry], _PLAIN))
        return {"reward_score": found["score"], "reward_extra_info": found}

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: list[float]) -> Any:
        """The scores at each sequence's last token: [batch, response length], zero elsewhere."""
        responses, mask = data.batch["responses"], data.batch["attention_mask"]
        lengths = mask[:, data.batch["prompts"].size(1) :].sum(dim=1)
        scattered = responses.new_zeros(responses.shape).float()
        # A response without any token has its reward at the first place, which the mask covers.
        places = (lengths - 1).clamp(min=0).unsqueeze(1)
        return scattered.scatter(1, places, scattered.new_tensor(scores).unsqueeze(1))


def _prompt(extra: Mapping[str, Any], key: str) -> Any:
    prompt = extra.get(key)
    if prompt is None:
        raise InvalidRequest(
            f'extra_info has no "{key}": take RewarddManager, to which verl hands the prompt, or '
            "let the dataset's preprocessing put it there"
        )
    return prompt


def _plain(results: list[ScoreResult]) -> dict[str, float]:
    sample = SampleReward.of(results[0], failed_reward=failed_reward())
    return {
        "score": sample.reward,
        "rewardd_score": sample.score,
        "rewardd_selected_safety": float(sample.selected_safety),
        "rewardd_num_tokens": float(sample.num_tokens),
        "rewardd_failed": float(sample.failed),
    }
