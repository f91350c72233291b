"""Reward functions for TRL: GRPOTrainer, RLOOTrainer, AsyncGRPOTrainer, OnlineDPOTrainer.

trainer = GRPOTrainer(model, reward_funcs=trl_reward("http://rewards:8000"), …)
"""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from rm_client.adapters.environment import shared_async_client, shared_client
from rm_client.config import ClientConfig
from rm_client.errors import InvalidRequest, ItemsFailed
from rm_client.models import FailedReply, ResponseReply, Truncation
from rm_client.models_ppo import PpoItemReply, WhitenMode, WhitenOptions
from rm_client.wire import score_items

T = TypeVar("T")

TrlRewards = list[float | None]
RewardName = Literal["selected", "safety", "helpfulness"]


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
    truncate: Truncation = "error"

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
    pickled. A completion that can't be scored gets None; a server that can't be reached is an
    exception, since a step without any reward would teach nothing and not say so.

    Args:
        url: the server's address, or a `ClientConfig` with time-outs and retries.
        api_key: if the server wants one and `url` is an address.
        eos_token_id: the policy's EOS, one or several: a completion that ends with none of them
            was cut off.
        **options: `reward` ("selected", "safety" or "helpfulness"); `is_safety_column` (the one
            dataset column that is sent; "is_safety", or None); `missing_eos_penalty` (taken off
            completions that were cut off); `stream` and `whiten` (whiten by the statistics of this
            stream, "running" by default); `truncate` ("error" or "prompt").

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
    """As `trl_reward`, but a plain function, as OnlineDPOTrainer and TRL before 0.26 need it."""
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
    items, places = build_items(options, prompts, completions, completion_ids, columns)
    client = shared_async_client(options.config)
    results: Sequence[object] = ()
    try:
        if items and options.is_shaped:
            results = (await client.ppo_reward(items, **options.shaping())).items
        elif items:
            results = (await client.score(items, truncate=options.truncate)).items
    except ItemsFailed:
        places = []
    return _spread(options, results, places, len(completions), columns)


def rewardd_sync(
    options: TrlOptions,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]] | None = None,
    **columns: Any,
) -> TrlRewards:
    """Score completions; `trl_reward_sync` binds the options."""
    items, places = build_items(options, prompts, completions, completion_ids, columns)
    client = shared_client(options.config)
    results: Sequence[object] = ()
    try:
        if items and options.is_shaped:
            results = client.ppo_reward(items, **options.shaping()).items
        elif items:
            results = client.score(items, truncate=options.truncate).items
    except ItemsFailed:
        places = []
    return _spread(options, results, places, len(completions), columns)


def build_items(
    options: TrlOptions,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]] | None,
    columns: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], list[int]]:
    """The items that can be sent, and where in the batch they stand.

    Of the columns only the one for safety is sent: the others may hold anything, and TRL adds
    objects of its own. A completion without text (an image, a tool call alone) is left out.

    Raises:
        InvalidRequest: prompts and completions differ in number.
    """
    if len(prompts) != len(completions):
        raise InvalidRequest(f"{len(prompts)} prompts came with {len(completions)} completions")
    flags = columns.get(options.is_safety_column) if options.is_safety_column else None
    items: list[dict[str, Any]] = []
    places: list[int] = []
    for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        item = _dialogue(prompt, completion)
        if item is None:
            continue
        if flags is not None and flags[place]:
            item["is_safety"] = True
        try:
            score_items([item])
        except InvalidRequest:
            continue  # one sample that can't be sent is None; its neighbours are scored
        if options.is_shaped and options.eos_token_ids and completion_ids is not None:
            item["finished"] = _ends_with(completion_ids[place], options.eos_token_ids)
        items.append(item)
        places.append(place)
    return items, places


def _dialogue(prompt: Any, completion: Any) -> dict[str, Any] | None:
    if isinstance(completion, str):
        turns = prompt if isinstance(prompt, str) else _messages(prompt)
        return None if turns is None else {"prompt": turns, "response": completion}
    answer = _messages(completion)
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _messages(prompt)
    if not answer or not before:
        return None
    if len(answer) == 1:
        return {"prompt": before, "response": answer[0]["content"]}
    return {"messages": before + answer}


def _messages(turns: Any) -> list[dict[str, str]] | None:
    """Roles and texts alone; None if any turn has no text."""
    found = []
    for turn in turns:
        text = _text(turn.get("content"))
        if text is None:
            return None
        found.append({"role": turn["role"], "content": text})
    return found


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        return None
    return "".join(part["text"] for part in content)


def _ends_with(ids: Sequence[int], eos_token_ids: tuple[int, ...]) -> bool:
    return len(ids) > 0 and int(ids[-1]) in eos_token_ids


def _spread(
    options: TrlOptions,
    results: Sequence[object],
    places: Sequence[int],
    size: int,
    columns: Mapping[str, Any],
) -> TrlRewards:
    rewards: TrlRewards = [None] * size
    for place, result in zip(places, results if places else (), strict=True):
        rewards[place] = _reward(options.reward, result)
    log_metric = columns.get("log_metric")
    if callable(log_metric) and size:
        log_metric("rewardd/failed", rewards.count(None) / size)
    return rewards


def _reward(name: RewardName, result: object) -> float | None:
    if isinstance(result, PpoItemReply):
        return result.reward
    if isinstance(result, FailedReply) or not isinstance(result, ResponseReply):
        return None
    if name == "selected":
        return result.selected_reward
    own = result.safety if name == "safety" else result.helpfulness
    if own is None:
        raise InvalidRequest(f"the server has no {name} model; ask for another reward")
    return own.reward


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
