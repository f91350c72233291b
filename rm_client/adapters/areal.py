"""A reward function for AReaL, which calls it in a process pool and waits 15 seconds.

reward_fn = areal_reward("http://rewards:8000")
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from rm_client.adapters.environment import (
    environment_config,
    failed_reward,
    shared_client,
    without_eos,
)
from rm_client.adapters.sample_reward import SampleReward
from rm_client.config import ClientConfig
from rm_client.retry import RetryPolicy

BUDGET_SECONDS = 14.0
"""Within AReaL's 15: it scores a late answer 0, without saying which one it was."""


def areal_reward(
    url: str,
    *,
    api_key: str | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    failed_reward: float | None = None,
) -> Callable[..., float]:
    """A plain function that can be pickled; each worker process keeps its connections.

    Args:
        url: the server's address.
        api_key: if the server wants one.
        budget_seconds: for the whole call, retries included; raise it with AReaL's own time-out.
        failed_reward: for a sample that can't be scored; None: an exception.
    """
    config = ClientConfig(
        url=url,
        api_key=api_key,
        timeout_seconds=budget_seconds,
        connect_timeout_seconds=min(5.0, budget_seconds),
        retry=_policy(budget_seconds),
    )
    return functools.partial(_reward, config, failed_reward)


def reward_fn(
    prompt: str,
    completions: str,
    prompt_ids: Sequence[int] | None = None,  # noqa: ARG001 (AReaL's signature)
    completion_ids: Sequence[int] | None = None,  # noqa: ARG001
    **row: Any,
) -> float:
    """The same, configured by RM_CLIENT_URL: for configurations that name a function by its path.

    Raises:
        InvalidRequest: there is no address.
        ItemsFailed: the sample can't be scored, and RM_CLIENT_FAILED_REWARD is not set.
        RewardClientError: the server gives no answer; AReaL then calls again.
    """
    config = environment_config(timeout_seconds=BUDGET_SECONDS, retry=_policy(BUDGET_SECONDS))
    return _reward(config, failed_reward(), prompt, completions, **row)


def _reward(
    config: ClientConfig,
    stand_in: float | None,
    prompt: str,
    completions: str,
    prompt_ids: Sequence[int] | None = None,  # noqa: ARG001 (AReaL's signature)
    completion_ids: Sequence[int] | None = None,  # noqa: ARG001
    **row: Any,
) -> float:
    item = {
        "prompt": prompt,
        "response": without_eos(completions),
        "is_safety": bool(row.get("is_safety", False)),
    }
    reply = shared_client(config).score([item])
    return SampleReward.of(reply.items[0], failed_reward=stand_in).reward


def _policy(budget_seconds: float) -> RetryPolicy:
    return RetryPolicy(
        initial_delay_seconds=0.2, max_delay_seconds=2.0, max_elapsed_seconds=budget_seconds
    )
