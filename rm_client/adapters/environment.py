"""Clients shared by a process, and the environment that configures adapters loaded by path.

Frameworks that load a function from a file give it no arguments of ours, so that these variables
do: RM_CLIENT_URL (needed), RM_CLIENT_API_KEY, RM_CLIENT_EOS (the policy's EOS text, which is taken
off the responses' ends), RM_CLIENT_RENDERED (1 where the trainer has put prompts through the
policy's chat template) and RM_CLIENT_FAILED_REWARD (for a sample that can't be scored; otherwise an
exception).
"""

import functools
import math
import os

from rm_client.async_client import AsyncRewardClient
from rm_client.client import RewardClient
from rm_client.config import ClientConfig
from rm_client.errors import InvalidRequest
from rm_client.retry import RetryPolicy

URL_VARIABLE = "RM_CLIENT_URL"
KEY_VARIABLE = "RM_CLIENT_API_KEY"
EOS_VARIABLE = "RM_CLIENT_EOS"
RENDERED_VARIABLE = "RM_CLIENT_RENDERED"
FAILED_REWARD_VARIABLE = "RM_CLIENT_FAILED_REWARD"

_MAX_CLIENTS = 32


@functools.lru_cache(_MAX_CLIENTS)
def shared_client(config: ClientConfig) -> RewardClient:
    """This process's client of these settings.

    A function that is pickled for every sample would otherwise open a connection for every sample.
    """
    return RewardClient.from_config(config)


@functools.lru_cache(_MAX_CLIENTS)
def shared_async_client(config: ClientConfig) -> AsyncRewardClient:
    """As `shared_client`, for coroutines; it tells event loops apart by itself."""
    return AsyncRewardClient.from_config(config)


def environment_config(
    url: str | None = None, *, timeout_seconds: float = 120.0, retry: RetryPolicy | None = None
) -> ClientConfig:
    """A client's settings from RM_CLIENT_URL and RM_CLIENT_API_KEY.

    Args:
        url: used where the variable is not set.
        timeout_seconds: for one attempt.
        retry: how often and how patiently.

    Raises:
        InvalidRequest: there is no address.
    """
    address = os.environ.get(URL_VARIABLE) or url
    if not address:
        raise InvalidRequest(f"set {URL_VARIABLE} to the server's address (http://host:8000)")
    return ClientConfig(
        url=address,
        api_key=os.environ.get(KEY_VARIABLE) or None,
        timeout_seconds=timeout_seconds,
        retry=retry or RetryPolicy(),
    )


def failed_reward() -> float | None:
    """RM_CLIENT_FAILED_REWARD; None if it is not set.

    Raises:
        InvalidRequest: it is not a finite number.
    """
    given = os.environ.get(FAILED_REWARD_VARIABLE)
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequest(f"{FAILED_REWARD_VARIABLE} must be a finite number")
    return value


def stop_tokens() -> tuple[str, ...]:
    """RM_CLIENT_EOS, if it is set: the policy's EOS is not the reward model's."""
    eos = os.environ.get(EOS_VARIABLE)
    return (eos,) if eos else ()


def prompts_are_rendered() -> bool:
    """RM_CLIENT_RENDERED: whether text prompts have been through a chat template already.

    Raises:
        InvalidRequest: it says neither yes nor no.
    """
    given = os.environ.get(RENDERED_VARIABLE, "").strip().lower()
    if given not in ("", "0", "1", "false", "true"):
        raise InvalidRequest(f"{RENDERED_VARIABLE} must be 0 or 1")
    return given in ("1", "true")
