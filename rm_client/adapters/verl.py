"""A reward function for verl: `reward.custom_reward_function.path` is this file.

verl doesn't hand over the prompt, so the dataset's preprocessing must put it, a text or a list of
messages, into `extra_info["prompt"]`; `extra_info["is_safety"]` is read where it is there.
"""

from collections.abc import Mapping
from typing import Any

from rm_client.adapters.environment import environment_config, failed_reward, shared_async_client
from rm_client.adapters.sample_reward import SampleReward
from rm_client.errors import InvalidRequest


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
    prompt = extra.get(prompt_key)
    if prompt is None:
        raise InvalidRequest(
            f'extra_info has no "{prompt_key}": let the dataset\'s preprocessing put the prompt '
            "there, for verl doesn't hand it to reward functions"
        )
    if not isinstance(prompt, str):
        # Parquet gives arrays of mappings, with whatever other keys a turn has.
        prompt = [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
    item = {
        "prompt": prompt,
        "response": solution_str,
        "is_safety": bool(extra.get("is_safety", False)),
    }
    client = shared_async_client(environment_config(url))
    reply = await client.score([item])
    sample = SampleReward.of(reply.items[0], failed_reward=failed_reward())
    return {
        "score": sample.reward,
        "rewardd_score": sample.score,
        "rewardd_selected_safety": float(sample.selected_safety),
        "rewardd_num_tokens": float(sample.num_tokens),
        "rewardd_failed": float(sample.failed),
    }
