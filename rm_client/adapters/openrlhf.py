"""A reward-function file for OpenRLHF: `--reward.remote_url /path/to/this/file.py`.

Without a function, the server answers OpenRLHF's own requests, whatever template its prompts went
through: docs/guides/trainers/openrlhf.md.
"""

from collections.abc import Sequence
from typing import Any

from rm_client.adapters.environment import (
    environment_config,
    failed_reward,
    prompts_are_rendered,
    stop_tokens,
)
from rm_client.adapters.sample_reward import SampleReward
from rm_client.adapters.samples import Entry, Reading, entry_of, score
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
            the end is taken off if RM_CLIENT_EOS names it.
        prompts: the prompts alone; RM_CLIENT_RENDERED=1 says that OpenRLHF has put them through a
            chat template. A query that doesn't begin with its prompt (OpenRLHF cuts long ones) is
            scored as one text.
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
    reading = Reading(prompts_are_rendered(), stop_tokens())
    pairs = zip(queries, prompts, strict=True)
    entries = [_entry(query, prompt, reading) for query, prompt in pairs]
    stand_in = failed_reward()
    results = score(environment_config(), entries, reading)
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


def _entry(query: str, prompt: str, reading: Reading) -> Entry:
    if query.startswith(prompt):
        return entry_of(prompt, query[len(prompt) :], reading)
    return entry_of("", query, reading)
