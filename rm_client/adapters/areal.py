"""A reward function for AReaL, which calls it in a process pool and waits 15 seconds.

reward_fn = areal_reward("http://rewards:8000")
"""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rm_client.adapters import environment
from rm_client.adapters.sample_reward import SampleReward
from rm_client.adapters.samples import Entry, Reading, entry_of, score
from rm_client.config import ClientConfig
from rm_client.errors import RewardClientError, ServiceUnavailable
from rm_client.models import ScoreResult
from rm_client.retry import RetryPolicy

BUDGET_SECONDS = 14.0
"""Within AReaL's 15: it scores a late answer 0, without saying which one it was."""

PATIENCE_BUDGETS = 2.8
"""How many budgets a process waits for a server that doesn't answer: its calls end in exceptions
before AReaL's fourth and last try of any of them, which alone would make a late answer 0."""


def areal_reward(
    url: str,
    *,
    api_key: str | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    failed_reward: float | None = None,
    stop: Sequence[str] = (),
) -> Callable[..., float]:
    """A plain function that can be pickled; each worker process keeps its connections.

    Args:
        url: the server's address.
        api_key: if the server wants one.
        budget_seconds: for the whole call, retries included; raise it with AReaL's own time-out.
        failed_reward: for a sample that can't be scored; None: RM_CLIENT_FAILED_REWARD, or else an
            exception.
        stop: the policy's stop tokens, which AReaL leaves at the completions' ends.
    """
    config = ClientConfig(
        url=url,
        api_key=api_key,
        timeout_seconds=budget_seconds,
        connect_timeout_seconds=min(5.0, budget_seconds),
        retry=_policy(budget_seconds),
    )
    return functools.partial(_reward, config, failed_reward, tuple(stop))


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
    config = environment.environment_config(
        timeout_seconds=BUDGET_SECONDS, retry=_policy(BUDGET_SECONDS)
    )
    return _reward(config, None, environment.stop_tokens(), prompt, completions, **row)


def _reward(
    config: ClientConfig,
    stand_in: float | None,
    stop: tuple[str, ...],
    prompt: str,
    completions: str,
    prompt_ids: Sequence[int] | None = None,  # noqa: ARG001 (AReaL's signature)
    completion_ids: Sequence[int] | None = None,  # noqa: ARG001
    **row: Any,
) -> float:
    # AReaL decodes the prompt's tokens, so that it comes rendered; its row has the chat itself.
    reading = Reading(rendered=True, stop=stop)
    messages = row.get("messages")
    said = prompt if messages is None else messages
    entry = entry_of(said, completions, reading, is_safety=row.get("is_safety"))
    if stand_in is None:
        stand_in = environment.failed_reward()
    (result,) = _watch(config).score(config, entry, reading)
    return SampleReward.of(result, failed_reward=stand_in).reward


class _Watch:
    """How long this process's calls may take while the server doesn't answer.

    AReaL's time-out includes the wait for a process, so that calls which each take their whole
    budget would make those behind them late. Unanswered calls therefore share one patience; when
    it is used up they fail at once, and only one in a budget's time asks again.
    """

    def __init__(self, budget_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget_seconds = budget_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0

    def score(self, config: ClientConfig, entry: Entry, reading: Reading) -> list[ScoreResult]:
        """The result of one sample.

        Raises:
            ServiceUnavailable: no answer in the time that is left, or none is waited for any more.
        """
        begun = self._clock()
        seconds = self.allowed_seconds(begun)
        if seconds <= 0.0:
            raise ServiceUnavailable(
                f"the server has not answered for {begun - (self._since or begun):.0f} s: not "
                "asked, so that AReaL does not take the wait in its queue for a reward of 0"
            )
        try:
            results = score(config, [entry], reading, within_seconds=seconds)
        except ServiceUnavailable:
            self.note_silence(begun)
            raise
        except RewardClientError:
            self.note_answer()
            raise
        self.note_answer()
        return results

    def allowed_seconds(self, now: float) -> float:
        """How long a call that begins now may take; 0: not at all."""
        with self._lock:
            if self._since is None:
                return self._budget_seconds
            left = self._since + PATIENCE_BUDGETS * self._budget_seconds - now
            if left > 0.0:
                return min(self._budget_seconds, left)
            if now - self._last < self._budget_seconds:
                return 0.0
            self._last = now  # this one asks; others that begin meanwhile don't
            return self._budget_seconds

    def note_silence(self, begun: float) -> None:
        """A call that began at `begun` had no answer."""
        with self._lock:
            self._since = begun if self._since is None else self._since
            self._last = self._clock()

    def note_answer(self) -> None:
        """There was an answer, of whatever kind."""
        with self._lock:
            self._since = None


@functools.lru_cache(32)
def _watch(config: ClientConfig) -> _Watch:
    """This process's, for a server."""
    return _Watch(config.timeout_seconds)


def _policy(budget_seconds: float) -> RetryPolicy:
    return RetryPolicy(
        initial_delay_seconds=0.2, max_delay_seconds=2.0, max_elapsed_seconds=budget_seconds
    )
