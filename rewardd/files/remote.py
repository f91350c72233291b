"""Who scores the rows: a server, asked through the client."""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from rewardd.files.rows import BatchFailed
from rm_client import (
    CompareItem,
    FailedReply,
    RequestRefused,
    RetryPolicy,
    RewardClient,
    RewardClientError,
    ServiceUnavailable,
)
from rm_client.checks import PASSING_CODES
from rm_client.models import ErrorReply, ScoreItem, Truncation
from rm_client.models_base import Received

Result = dict[str, Any]
"""What is written for one row: a reply's item, or {"error": …}."""

PATIENCE = RetryPolicy(max_attempts=40, max_elapsed_seconds=900.0)
"""A file has time: a server that has answered once may be restarted meanwhile."""

IMPATIENCE = RetryPolicy(max_attempts=3, max_elapsed_seconds=5.0)
"""Before the first answer a wrong address is likelier than a restart."""

_IN_FLIGHT = 2
_MOST_RESPONSES = 64
_MOST_BYTES = 1024 * 1024

_ITEM_POINTER = re.compile(r"^/items/\d+")


class FileScorer(Protocol):
    """Judges items in order, in bounded memory."""

    def info(self) -> Mapping[str, Any]:
        """What is loaded, as /v1/info says it."""
        ...

    def score(
        self, items: Iterator[ScoreItem], truncate: Truncation, stop: Sequence[str] = ()
    ) -> Iterator[Result]:
        """One result per item; `items` is read only a little ahead."""
        ...

    def compare(
        self, items: Iterator[CompareItem], truncate: Truncation, stop: Sequence[str] = ()
    ) -> Iterator[Result]:
        """One result per item; `items` is read only a little ahead."""
        ...

    def close(self) -> None:
        """Let go of what the scorer holds."""
        ...


def as_result(reply: Received) -> Result:
    """A reply as it is written: what the server said, its pointers below the row."""
    result = reply.model_dump(mode="json", exclude_unset=True)
    if isinstance(reply, FailedReply):
        error = result["error"]
        error["pointer"] = _ITEM_POINTER.sub("", error["pointer"])
    return result


class RemoteScorer:
    """A running server.

    Args:
        client: of the server, patient.
        first: asks until there was an answer, which shows that a server is there; None: `client`.
    """

    def __init__(self, client: RewardClient, *, first: RewardClient | None = None) -> None:
        self._client = client
        self._first = first

    def info(self) -> Mapping[str, Any]:
        """See `FileScorer`.

        Raises:
            BatchFailed: nobody answers, or not as a rewardd server does.
        """
        try:
            info = (self._first or self._client).info()
        except ServiceUnavailable as error:
            advice = "" if self._first is None else "; --wait waits for a server that is starting"
            raise BatchFailed(f"{error}{advice}") from error
        except RewardClientError as error:
            raise BatchFailed(str(error)) from error
        if not isinstance(info.get("models"), Mapping):
            raise BatchFailed("the server's /v1/info names no models; is it a rewardd server?")
        self._let_go_of_first()
        return info

    def score(
        self, items: Iterator[ScoreItem], truncate: Truncation, stop: Sequence[str] = ()
    ) -> Iterator[Result]:
        """See `FileScorer`; as bulk work, which lets interactive requests go first."""
        under_way: deque[ScoreItem] = deque()

        def passed_on() -> Iterator[ScoreItem]:
            for item in items:
                under_way.append(item)
                yield item

        try:
            for reply in self._client.score_iter(
                passed_on(), truncate=truncate, stop=stop, max_in_flight=_IN_FLIGHT
            ):
                item = under_way.popleft()
                yield as_result(self._again(item, truncate, stop) if _is_passing(reply) else reply)
        except RewardClientError as error:
            raise BatchFailed(str(error)) from error

    def compare(
        self, items: Iterator[CompareItem], truncate: Truncation, stop: Sequence[str] = ()
    ) -> Iterator[Result]:
        """See `FileScorer`."""
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            under_way: deque[Future[list[Result]]] = deque()
            try:
                for part in _parts(items):
                    under_way.append(pool.submit(self._compare, part, truncate, stop))
                    if len(under_way) == _IN_FLIGHT:
                        yield from under_way.popleft().result()
                while under_way:
                    yield from under_way.popleft().result()
            except RewardClientError as error:
                raise BatchFailed(str(error)) from error
            finally:
                for future in under_way:
                    future.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._let_go_of_first()
        self._client.close()

    def _let_go_of_first(self) -> None:
        if self._first is not None:
            self._first.close()
        self._first = None

    def _again(self, item: ScoreItem, truncate: Truncation, stop: Sequence[str]) -> Received:
        """Ask once more, now with the client's patience, about an item that met a bad moment."""
        (reply,) = self._client.score([item], truncate=truncate, stop=stop).items
        return _lasting(reply)

    def _compare(
        self, part: list[CompareItem], truncate: Truncation, stop: Sequence[str]
    ) -> list[Result]:
        try:
            replies = self._client.compare(part, truncate=truncate, stop=stop).items
        except RequestRefused as error:
            if error.status not in (413, 422):
                raise
            if len(part) > 1:  # one of them is too large; which one, shows when they are alone
                return [result for item in part for result in self._compare([item], truncate, stop)]
            detail = error.problem.detail if error.problem is not None else "the item is refused"
            refused = ErrorReply(code=error.code or "refused", detail=detail, pointer="")
            return [as_result(FailedReply(error=refused))]
        return [as_result(_lasting(reply)) for reply in replies]


def _is_passing(reply: Received) -> bool:
    return isinstance(reply, FailedReply) and reply.error.code in PASSING_CODES


def _lasting(reply: Received) -> Received:
    if isinstance(reply, FailedReply) and _is_passing(reply):
        raise BatchFailed(
            f"the server can't judge now: {reply.error.detail} ({reply.error.code}); "
            "run the same command again later, it goes on where it stopped"
        )
    return reply


def _parts(items: Iterator[CompareItem]) -> Iterator[list[CompareItem]]:
    """Items in requests of a bearable size; one that is larger goes alone."""
    part: list[CompareItem] = []
    num_responses = num_bytes = 0
    for item in items:
        its_bytes = len(item.model_dump_json())
        its_responses = len(item.responses)
        if part and (
            num_responses + its_responses > _MOST_RESPONSES or num_bytes + its_bytes > _MOST_BYTES
        ):
            yield part
            part, num_responses, num_bytes = [], 0, 0
        part.append(item)
        num_responses += its_responses
        num_bytes += its_bytes
    if part:
        yield part
