"""A reward function for slime and miles: `--custom-rm-path rm_client.adapters.slime.custom_rm`.

Without a function, the server answers their own `remote_rm` requests:
docs/guides/trainers/slime.md.
"""

from typing import Any, overload

from rm_client.adapters.environment import (
    environment_config,
    failed_reward,
    prompts_are_rendered,
    stop_tokens,
)
from rm_client.adapters.sample_reward import SampleReward
from rm_client.adapters.samples import Entry, Reading, entry_of, score_async


@overload
async def custom_rm(args: Any, sample: list[Any], **_: Any) -> list[float]: ...
@overload
async def custom_rm(args: Any, sample: Any, **_: Any) -> float: ...
async def custom_rm(args: Any, sample: Any, **_: Any) -> float | list[float]:
    """Score a sample, or with `--group-rm` a group of them in one request.

    Args:
        args: slime's; `rm_url` is the server's address where RM_CLIENT_URL is not set (with slime's
            own `…/rm` at its end or without), `apply_chat_template` says that slime has rendered
            the prompts, as RM_CLIENT_RENDERED=1 does.
        sample: its `prompt` is a text or messages; the stop token's text at the end of its
            `response` is taken off if RM_CLIENT_EOS names it; `metadata["is_safety"]` is read.

    Returns:
        The selected reward; for a list, a list.

    Raises:
        InvalidRequest: there is no address.
        ItemsFailed: a sample can't be scored, and RM_CLIENT_FAILED_REWARD is not set.
        RewardClientError: the server gives no answer.
    """
    config = environment_config(_address(getattr(args, "rm_url", None)))
    rendered = prompts_are_rendered() or bool(getattr(args, "apply_chat_template", False))
    reading = Reading(rendered, stop_tokens())
    samples: list[Any] = sample if isinstance(sample, list) else [sample]
    stand_in = failed_reward()
    results = await score_async(config, [_entry(one, reading) for one in samples], reading)
    rewards = [SampleReward.of(result, failed_reward=stand_in).reward for result in results]
    return rewards if isinstance(sample, list) else rewards[0]


def _address(rm_url: str | None) -> str | None:
    """What `--rm-url` names: the server, or its route for slime's own requests."""
    return None if rm_url is None else rm_url.partition("?")[0].rstrip("/").removesuffix("/rm")


def _entry(sample: Any, reading: Reading) -> Entry:
    metadata = sample.metadata if isinstance(getattr(sample, "metadata", None), dict) else {}
    return entry_of(sample.prompt, sample.response, reading, is_safety=metadata.get("is_safety"))
