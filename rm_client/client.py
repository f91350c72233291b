"""The client for threads and scripts; `rm_client.async_client` is its twin for event loops."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self, TypeVar, Unpack, overload

import httpx

from rm_client import wire
from rm_client.base import ClientBase
from rm_client.call import Call, conclude
from rm_client.checks import raise_failures
from rm_client.config import ClientConfig, failure_of
from rm_client.errors import ServiceUnavailable
from rm_client.forms import CompareOptionsForm, GroupForm, ScoreOptionsForm, SeveralForm, SingleForm
from rm_client.lines import line_calls
from rm_client.models import (
    AdvantageKind,
    CompareItem,
    CompareReply,
    ComparisonReply,
    DetailKind,
    FailedReply,
    GroupReply,
    ResponseReply,
    ScoreReply,
    ScoreResult,
    StepAggregation,
    Truncation,
)
from rm_client.models_info import Info
from rm_client.models_ppo import (
    DEFAULT_BETA,
    DEFAULT_KL_CLIP,
    DEFAULT_STREAM,
    ExpectVersion,
    KLEstimator,
    PpoReply,
    RewardClipPreset,
    StreamReply,
    StreamSnapshot,
    WhitenMode,
    WhitenOptions,
)
from rm_client.retry import Failure, Pause, RawReply, RetryPolicy, Send
from rm_client.wire import OnItemError

T = TypeVar("T")

ONCE = RetryPolicy(max_attempts=1)


class RewardClient(ClientBase):
    """Asks a rewardd server, with connections kept open and failures retried.

    Threads may share one. It can be pickled and survives a fork: connections are made anew where
    they are first needed.

    Every method raises `ServiceUnavailable` when the retries are used up, `RequestRefused` on a
    4xx, `InvalidRequest` before anything is sent and `InvalidReply` on a malformed answer.

    The arguments are those of `ClientConfig`.
    """

    _http: tuple[int, httpx.Client] | None

    @overload
    def score(
        self,
        items: Iterable[SingleForm],
        *,
        on_item_error: Literal["raise"],
        **options: Unpack[ScoreOptionsForm],
    ) -> ScoreReply[ResponseReply]: ...
    @overload
    def score(
        self,
        items: Iterable[SingleForm],
        *,
        on_item_error: Literal["return"] = "return",
        **options: Unpack[ScoreOptionsForm],
    ) -> ScoreReply[ResponseReply | FailedReply]: ...
    @overload
    def score(
        self,
        items: Iterable[SeveralForm],
        *,
        on_item_error: Literal["raise"],
        **options: Unpack[ScoreOptionsForm],
    ) -> ScoreReply[GroupReply]: ...
    @overload
    def score(
        self,
        items: Iterable[SeveralForm],
        *,
        on_item_error: Literal["return"] = "return",
        **options: Unpack[ScoreOptionsForm],
    ) -> ScoreReply[GroupReply | FailedReply]: ...
    @overload
    def score(
        self,
        items: Iterable[object],
        *,
        on_item_error: OnItemError = "return",
        **options: Unpack[ScoreOptionsForm],
    ) -> ScoreReply: ...
    def score(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        stop: Sequence[str] = (),
        detail: DetailKind | None = None,
        step_separator: str = "\n\n",
        aggregation: StepAggregation = "min",
        advantages: AdvantageKind = "grpo",
        on_item_error: OnItemError = "return",
    ) -> ScoreReply:
        """Rewards and scores of responses.

        Args:
            items: `ResponseItem`, `StepsItem`, `GroupItem`, `MessagesItem`, or mappings of their
                fields.
            truncate: "error" refuses a text that is too long, "prompt" cuts the prompt's left,
                "left" the response's too where the prompt does not suffice.
            stop: the policy's own stop tokens, taken off the responses' ends.
            detail: "tokens" asks for the reward at every token too, "steps" at every step's end.
            step_separator: ends a step of a response that is not given as `steps`.
            aggregation: how the steps' scores become one.
            advantages: of groups: GRPO's, with or without division by the deviation, or RLOO's.
            on_item_error: "return" puts a `FailedReply` in the item's place.

        Raises:
            ItemsFailed: with "raise", if any item could not be scored.
        """
        return self._run(
            wire.score_call(
                items,
                on_item_error,
                truncate=truncate,
                stop=list(stop),
                detail=detail,
                step_separator=step_separator,
                aggregation=aggregation,
                advantages=advantages,
            )
        )

    def score_iter(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        stop: Sequence[str] = (),
        first_index: int = 0,
        max_in_flight: int = 2,
        on_item_error: OnItemError = "return",
    ) -> Iterator[ScoreResult]:
        """Score any number of items in bounded memory, as bulk work; one result each, in order.

        Args:
            items: as for `score`; read ahead only as far as what is in flight.
            truncate: as for `score`.
            stop: as for `score`.
            first_index: number of the first item, for a file that is resumed.
            max_in_flight: parts of up to 64 items that are under way at a time.
            on_item_error: as for `score`; "raise" raises at the first failure.
        """
        calls = line_calls(items, truncate=truncate, stop=stop, first_index=first_index)
        index = first_index
        for results in self._in_order(calls, max_in_flight):
            for result in results:
                if on_item_error == "raise":
                    raise_failures([result], first_index=index)
                yield result
                index += 1

    @overload
    def compare(
        self,
        items: Iterable[CompareItem | GroupForm],
        *,
        on_item_error: Literal["raise"],
        **options: Unpack[CompareOptionsForm],
    ) -> CompareReply[ComparisonReply]: ...
    @overload
    def compare(
        self,
        items: Iterable[object],
        *,
        on_item_error: OnItemError = "return",
        **options: Unpack[CompareOptionsForm],
    ) -> CompareReply: ...
    def compare(
        self,
        items: Iterable[object],
        *,
        truncate: Truncation = "error",
        stop: Sequence[str] = (),
        on_item_error: OnItemError = "return",
    ) -> CompareReply:
        """Winner, ranking and pairwise probabilities of each item's responses.

        Args:
            items: `CompareItem`s, or mappings of their fields.
            truncate: as for `score`.
            stop: as for `score`.
            on_item_error: as for `score`.
        """
        return self._run(
            wire.compare_call(items, on_item_error, truncate=truncate, stop=list(stop))
        )

    def ppo_reward(  # noqa: PLR0913 (the request's own fields)
        self,
        items: Iterable[object],
        *,
        stream: str = DEFAULT_STREAM,
        beta: float = DEFAULT_BETA,
        kl_estimator: KLEstimator = "k1",
        kl_clip: float | None = DEFAULT_KL_CLIP,
        reward_clip: float | RewardClipPreset | None = None,
        whiten: WhitenOptions | WhitenMode = "running",
        missing_eos_penalty: float = 0.0,
        expect_version: ExpectVersion | None = None,
        truncate: Truncation = "error",
        stop: Sequence[str] = (),
        idempotency_key: str | None = None,
        on_item_error: OnItemError = "return",
    ) -> PpoReply:
        """Shaped rewards for PPO: selected, whitened, less β·KL; counted once however often sent.

        Args:
            items: `PpoResponseItem`, `PpoMessagesItem`, or mappings of their fields.
            stream: whose statistics whiten the rewards.
            beta: coefficient of the KL penalty, reward units per nat.
            kl_estimator: "k1", the one for rewards; "k2" and "k3" give another policy gradient.
            kl_clip: bound of a token's KL estimate, nats; None for none.
            reward_clip: bound of the whitened reward, "openrlhf" (10), "deepspeed_chat" (5), or
                None for none.
            whiten: options, or only the mode.
            missing_eos_penalty: taken off items with finished false.
            expect_version: other weights or statistics than these are a `RequestRefused` (412).
            truncate: as for `score`.
            stop: as for `score`.
            idempotency_key: names the call; with the same key and items it counts once even if a
                restarted trainer makes it again. A fresh one by default.
            on_item_error: as for `score`.

        Raises:
            ItemsFailed: no item at all could be scored; or any, with "raise".
        """
        return self._run(
            wire.ppo_call(
                items,
                on_item_error,
                stream=stream,
                beta=beta,
                kl_estimator=kl_estimator,
                kl_clip=kl_clip,
                reward_clip=reward_clip,
                whiten=whiten,
                missing_eos_penalty=missing_eos_penalty,
                expect_version=expect_version,
                truncate=truncate,
                stop=list(stop),
                idempotency_key=idempotency_key,
            )
        )

    def get_stream(self, name: str) -> StreamReply:
        """A stream's statistics; `.snapshot()` of it goes into a trainer's checkpoint."""
        return self._run(wire.get_stream_call(name))

    def put_stream(self, name: str, snapshot: StreamSnapshot) -> StreamReply:
        """Restore a stream to a snapshot, or create it."""
        return self._run(wire.put_stream_call(name, snapshot))

    def delete_stream(self, name: str, *, forget: bool = False) -> StreamReply | None:
        """Set a stream back to its start; with `forget` delete it altogether, which gives None."""
        return self._run(wire.delete_stream_call(name, forget=forget))

    def list_streams(self) -> list[StreamReply]:
        """Every stream, by name."""
        return self._run(wire.list_streams_call())

    def info(self) -> Info:
        """What is loaded, how it reads a text, and the limits, as /v1/info gives it."""
        return self._run(wire.info_call())

    def ready(self) -> bool:
        """Whether work may be sent now; asked once, and false where nobody answers."""
        try:
            return self._run(wire.ready_call(), ONCE)
        except ServiceUnavailable:
            return False

    def within(self, seconds: float) -> Self:
        """This client, on the same connections, with at most `seconds` for a call."""
        limited = self.from_config(self.config.within(seconds))
        limited._http = (os.getpid(), self._client())
        return limited

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if self._http is not None and self._http[0] == os.getpid():
            self._http[1].close()
        self._http = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __setstate__(self, config: ClientConfig) -> None:
        super().__setstate__(config)
        self._http = None

    def _in_order(self, calls: Iterable[Call[T]], max_in_flight: int) -> Iterator[T]:
        with ThreadPoolExecutor(max_in_flight, "rm-client") as pool:
            under_way: deque[Future[T]] = deque()
            try:
                for call in calls:
                    under_way.append(pool.submit(self._run, call))
                    if len(under_way) == max_in_flight:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                for future in under_way:
                    future.cancel()

    def _run(self, call: Call[T], policy: RetryPolicy | None = None) -> T:
        conversation = self._exchange(call, policy)
        outcome: RawReply | Failure | None = None
        while True:
            try:
                step = conversation.send(outcome)
            except StopIteration as end:
                return conclude(call, *end.value)
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(call, step)

    def _send(self, call: Call[T], send: Send) -> RawReply | Failure:
        end = time.monotonic() + send.timeout_seconds
        try:
            with self._client().stream(
                call.method,
                call.path,
                content=call.content,
                params=call.params,
                headers=call.headers(send.timeout_seconds),
                timeout=self.config.timeout(send.timeout_seconds),
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    # httpx's limit is on each read: a reply that trickles would pass it.
                    if time.monotonic() > end:
                        raise TimeoutError
                return RawReply(response.status_code, response.headers, bytes(body))
        except (httpx.HTTPError, TimeoutError) as exc:
            return failure_of(exc)

    def _client(self) -> httpx.Client:
        # A forked child must not touch the parent's sockets, not even to close them. Two threads
        # that come first may both make one; the loser's serves its own call and is forgotten.
        http = self._http
        if http is None or http[0] != os.getpid():
            http = (os.getpid(), httpx.Client(**self.config.http_options()))
            self._http = http
        return http[1]
