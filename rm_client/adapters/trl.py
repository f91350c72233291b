"""Reward functions for TRL (GRPO, RLOO, AsyncGRPO, OnlineDPO trainers) and for Tunix.

trainer = GRPOTrainer(model, reward_funcs=trl_reward("http://rewards:8000"), …)
"""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from rm_client.adapters.environment import failed_reward, shared_async_client, shared_client
from rm_client.adapters.sample_reward import RewardName, SampleReward, require_sample_failure
from rm_client.adapters.samples import TRUNCATE, Entry, Reading, entry_of, merged, sendable
from rm_client.config import ClientConfig
from rm_client.errors import InvalidRequest, ItemsFailed
from rm_client.models import FailedReply, ScoreResult, Truncation
from rm_client.models_ppo import PpoItemReply, WhitenMode, WhitenOptions

T = TypeVar("T")

TrlRewards = list[float | None]
OnFailed = Literal["none", "raise"]


class TrlReward(Protocol):
    """What TRL calls: keyword arguments in, one reward per completion out, None where it failed."""

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> TrlRewards:
        """Score the completions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrlOptions:
    """The settings of a reward function, as they travel in its pickle; see `trl_reward`."""

    config: ClientConfig
    reward: RewardName = "selected"
    is_safety_column: str | None = "is_safety"
    eos_token_ids: tuple[int, ...] = ()
    missing_eos_penalty: float = 0.0
    stream: str | None = None
    whiten: WhitenMode | WhitenOptions = "running"
    truncate: Truncation = TRUNCATE
    rendered: bool = False
    failed_reward: float | None = None
    on_failed: OnFailed = "none"

    def __post_init__(self) -> None:
        if self.missing_eos_penalty and not self.eos_token_ids:
            raise InvalidRequest("missing_eos_penalty needs eos_token_id, to see what is finished")
        if self.is_shaped and self.reward != "selected":
            raise InvalidRequest("stream and missing_eos_penalty work on the selected reward only")

    @property
    def is_shaped(self) -> bool:
        """Whether the server's shaping is asked for, rather than the plain reward."""
        return self.stream is not None or self.missing_eos_penalty > 0.0

    def shaping(self) -> dict[str, Any]:
        """Arguments of /ppo_reward."""
        where = {"stream": self.stream} if self.stream is not None else {}
        return {
            **where,
            "whiten": self.whiten if self.stream is not None else "none",
            "missing_eos_penalty": self.missing_eos_penalty,
            "truncate": self.truncate,
        }


def trl_reward(
    url: str | ClientConfig,
    *,
    api_key: str | None = None,
    eos_token_id: int | Sequence[int] = (),
    **options: Any,
) -> Callable[..., Awaitable[TrlRewards]]:
    """An async reward function; TRL awaits it beside the others.

    It is a plain coroutine function to `inspect.iscoroutinefunction`, has a name, and can be
    pickled. A completion that can't be scored gets None, which GRPO and RLOO leave out; a server
    that can't be reached, or is wrongly set up, is an exception, since a step without any reward
    would teach nothing and not say so.

    Args:
        url: the server's address, or a `ClientConfig` with time-outs and retries.
        api_key: if the server wants one and `url` is an address.
        eos_token_id: the policy's EOS, one or several: a completion that ends with none of them
            was cut off.
        **options: `reward` ("selected", "safety" or "helpfulness", calibrated; "raw_selected",
            "raw_safety" or "raw_helpfulness", the head's own); `rendered` (whether prompts that are
            texts have been through a chat template); `failed_reward` (a number for a completion
            that can't be scored; RM_CLIENT_FAILED_REWARD by default) and `on_failed` (without one:
            "none" or "raise"); `is_safety_column` (the one dataset column that is sent;
            "is_safety", or None); `missing_eos_penalty` (taken off completions that were cut off);
            `stream` and `whiten` (whiten by the statistics of this stream, "running" by default);
            `truncate` ("left", "prompt" or "error").

    Raises:
        InvalidRequest: the options contradict each other.
    """
    bound = functools.partial(rewardd, _options(url, api_key, eos_token_id, options))
    return _named(bound, rewardd.__name__)


def trl_reward_sync(
    url: str | ClientConfig,
    *,
    api_key: str | None = None,
    eos_token_id: int | Sequence[int] = (),
    **options: Any,
) -> TrlReward:
    """As `trl_reward`, but a plain function, as OnlineDPOTrainer and Tunix need it.

    Both count None as 0, which may be better than what the policy earns by answering: `on_failed`
    is "raise" here by default.
    """
    options = {"on_failed": "raise", **options}
    bound = functools.partial(rewardd_sync, _options(url, api_key, eos_token_id, options))
    return _named(bound, rewardd_sync.__name__)


# TRL names its metrics by the innermost function: rewards/rewardd/mean.
async def rewardd(
    options: TrlOptions,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]] | None = None,
    **columns: Any,
) -> TrlRewards:
    """Score completions; `trl_reward` binds the options."""
    entries = build_entries(options, prompts, completions, completion_ids, columns)
    items = sendable(entries)
    client = shared_async_client(options.config)
    results: Sequence[ScoreResult | PpoItemReply] = ()
    try:
        if items and options.is_shaped:
            results = (await client.ppo_reward(items, **options.shaping())).items
        elif items:
            results = (await client.score(items, truncate=options.truncate)).items
    except ItemsFailed as error:
        results = _all_failed(error, len(items))
    return _rewards(options, entries, results, columns)


def rewardd_sync(
    options: TrlOptions,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]] | None = None,
    **columns: Any,
) -> TrlRewards:
    """Score completions; `trl_reward_sync` binds the options."""
    entries = build_entries(options, prompts, completions, completion_ids, columns)
    items = sendable(entries)
    client = shared_client(options.config)
    results: Sequence[ScoreResult | PpoItemReply] = ()
    try:
        if items and options.is_shaped:
            results = client.ppo_reward(items, **options.shaping()).items
        elif items:
            results = client.score(items, truncate=options.truncate).items
    except ItemsFailed as error:
        results = _all_failed(error, len(items))
    return _rewards(options, entries, results, columns)


def build_entries(
    options: TrlOptions,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]] | None,
    columns: Mapping[str, Any],
) -> list[Entry]:
    """What can be sent of a batch, and why the rest can't, one entry per completion.

    Of the columns only the one for safety is sent: the others may hold anything, and TRL adds
    objects of its own.

    Raises:
        InvalidRequest: prompts and completions differ in number.
    """
    if len(prompts) != len(completions):
        raise InvalidRequest(f"{len(prompts)} prompts came with {len(completions)} completions")
    flags = columns.get(options.is_safety_column) if options.is_safety_column else None
    reading = Reading(rendered=options.rendered)
    entries: list[Entry] = []
    for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        tag = flags is not None and flags[place]
        entry = entry_of(prompt, completion, reading, is_safety=tag)
        may_be_cut_off = options.is_shaped and options.eos_token_ids
        if may_be_cut_off and completion_ids is not None and isinstance(entry, dict):
            entry["finished"] = _ends_with(completion_ids[place], options.eos_token_ids)
        entries.append(entry)
    return entries


def _ends_with(ids: Sequence[int], eos_token_ids: tuple[int, ...]) -> bool:
    return len(ids) > 0 and int(ids[-1]) in eos_token_ids


def _all_failed(error: ItemsFailed, num_items: int) -> list[FailedReply]:
    """What /ppo_reward says where it could score no item."""
    return [FailedReply(error=error.failures[index]) for index in range(num_items)]


def _rewards(
    options: TrlOptions,
    entries: Sequence[Entry],
    results: Sequence[ScoreResult | PpoItemReply],
    columns: Mapping[str, Any],
) -> TrlRewards:
    rewards: TrlRewards = []
    num_failed = 0
    stand_in = options.failed_reward if options.failed_reward is not None else failed_reward()
    for result in merged(entries, results):
        if isinstance(result, PpoItemReply):
            rewards.append(result.reward)
        elif isinstance(result, FailedReply) and stand_in is None and options.on_failed == "none":
            require_sample_failure(result)
            num_failed += 1
            rewards.append(None)
        else:
            found = SampleReward.of(result, failed_reward=stand_in, name=options.reward)
            num_failed += found.failed
            rewards.append(found.reward)
    log_metric = columns.get("log_metric")
    if callable(log_metric) and rewards:
        log_metric("rewardd/failed", num_failed / len(rewards))
    return rewards


def _options(
    url: str | ClientConfig,
    api_key: str | None,
    eos_token_id: int | Sequence[int],
    options: Mapping[str, Any],
) -> TrlOptions:
    config = url if isinstance(url, ClientConfig) else ClientConfig(url=url, api_key=api_key)
    eos = (eos_token_id,) if isinstance(eos_token_id, int) else tuple(eos_token_id)
    try:
        return TrlOptions(config=config, eos_token_ids=eos, **options)
    except TypeError as exc:
        raise InvalidRequest(f"trl_reward: {exc}") from None


def _named(function: "functools.partial[T]", name: str) -> "functools.partial[T]":
    # For releases of TRL that look at a partial's own name, not at the function inside it.
    function.__name__ = name  # type: ignore[attr-defined]
    return function
