"""A reward function for slime: `--custom-rm-path rm_client.adapters.slime.custom_rm`.

Without a function, the server answers slime's own `remote_rm` requests: docs/guides/dialects.md.
"""

from typing import Any, overload

from rm_client.adapters.environment import (
    environment_config,
    failed_reward,
    shared_async_client,
    without_eos,
)
from rm_client.adapters.sample_reward import SampleReward


@overload
async def custom_rm(args: Any, sample: list[Any], **_: Any) -> list[float]: ...
@overload
async def custom_rm(args: Any, sample: Any, **_: Any) -> float: ...
async def custom_rm(args: Any, sample: Any, **_: Any) -> float | list[float]:
    """Score a sample, or with `--group-rm` a group of them in one request.

    Args:
        args: slime's; `rm_url` is the server's address where RM_CLIENT_URL is not set.
        sample: its `prompt` is a text or messages; the stop token's text at the end of its
            `response` is cut off if RM_CLIENT_EOS names it; `metadata["is_safety"]` is read.

    Returns:
        The selected reward; for a list, a list.

    Raises:
        InvalidRequest: there is no address.
        ItemsFailed: a sample can't be scored, and RM_CLIENT_FAILED_REWARD is not set.
        RewardClientError: the server gives no answer.
    """
    config = environment_config(getattr(args, "rm_url", None))
    samples: list[Any] = sample if isinstance(sample, list) else [sample]
    if not samples:
        return []
    stand_in = failed_reward()
    reply = await shared_async_client(config).score([_item(one) for one in samples])
    rewards = [SampleReward.of(result, failed_reward=stand_in).reward for result in reply.items]
    return rewards if isinstance(sample, list) else rewards[0]


def _item(sample: Any) -> dict[str, Any]:
    prompt = sample.prompt
    if not isinstance(prompt, str):
        prompt = [{"role": turn["role"], "content": turn["content"]} for turn in prompt]
    metadata = sample.metadata if isinstance(getattr(sample, "metadata", None), dict) else {}
    return {
        "prompt": prompt,
        "response": without_eos(sample.response),
        "is_safety": bool(metadata.get("is_safety", False)),
    }
