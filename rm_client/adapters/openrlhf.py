"""A reward-function file for OpenRLHF: `--reward.remote_url /path/to/this/file.py`.

Without a function, the server answers OpenRLHF's own requests: docs/guides/dialects.md.
"""

from collections.abc import Sequence
from typing import Any

from rm_client.adapters.environment import (
    environment_config,
    failed_reward,
    shared_client,
    without_eos,
)
from rm_client.adapters.sample_reward import SampleReward
from rm_client.errors import InvalidRequest


def reward_func(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any] | None = None,  # noqa: ARG001 (OpenRLHF's signature)
    **_: Any,
) -> dict[str, Any]:
    """Score a shard, by the contract of OpenRLHF's reward functions.

    Args:
        queries: prompt and response in one text each, special tokens included. The policy's EOS at
            the end is cut off if RM_CLIENT_EOS names it.
        prompts: the prompts alone. A query that doesn't begin with its prompt (OpenRLHF cuts long
            ones) is scored as one text.
        labels: not used.

    Returns:
        "rewards"; "scores" in (0, 1), which dynamic filtering reads; "extra_logs", numbers under
        the same keys every time. One entry per query.

    Raises:
        InvalidRequest: queries and prompts differ in number, or there is no address.
        ItemsFailed: a sample can't be scored, and RM_CLIENT_FAILED_REWARD is not set.
        RewardClientError: the server gives no answer.
    """
    if len(queries) != len(prompts):
        raise InvalidRequest(f"{len(queries)} queries came with {len(prompts)} prompts")
    items = [_item(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    stand_in = failed_reward()
    results = shared_client(environment_config()).score(items).items if items else []
    samples = [SampleReward.of(result, failed_reward=stand_in) for result in results]
    return {
        "rewards": [sample.reward for sample in samples],
        "scores": [sample.score for sample in samples],
        "extra_logs": {
            "rewardd_selected_safety": [float(sample.selected_safety) for sample in samples],
            "rewardd_num_tokens": [float(sample.num_tokens) for sample in samples],
            "rewardd_failed": [float(sample.failed) for sample in samples],
        },
    }


def _item(query: str, prompt: str) -> dict[str, str]:
    if query.startswith(prompt):
        return {"prompt": prompt, "response": without_eos(query[len(prompt) :])}
    return {"prompt": "", "response": without_eos(query)}
