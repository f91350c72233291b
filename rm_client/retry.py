"""When to send again, and how long to wait: pure, for the sync and the async client alike.

`exchange` is the whole conversation of one call as a generator: it yields what to do next, `Send`
or `Pause`, and is told what came of it. The clients only carry these steps out.
"""

import datetime as dt
import email.utils
import logging
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from rm_client.errors import ConnectionFailed, InvalidRequest, TimedOut

logger = logging.getLogger("rm_client")

# 501 and 505 say that the server can't, not that it can't now.
_NEVER_CURED = frozenset({501, 505})
_CURED_BY_WAITING = frozenset({408, 425, 429})
# Answers that mean "nothing was done": safe to repeat even what must not happen twice, and no
# attempt is used up by them: a server that loads its models or is full says so for minutes.
_REFUSED_UNDONE = frozenset({429, 503})
_QUIET_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is repeated.

    The n-th wait is a random time between half and all of `initial_delay_seconds`·2ⁿ⁻¹, at most
    `max_delay_seconds`, and never less than the server's Retry-After.

    A server that is away (no connection) or takes nothing now (429, 503) has done nothing: only
    `max_elapsed_seconds` ends the waiting for it.

    Attributes:
        max_attempts: how often a request is sent at most that the server may have worked on (time
            ran out, the connection broke, 408, 425, 5xx); 1 never repeats anything.
        initial_delay_seconds: scale of the first wait.
        max_delay_seconds: longest wait of our own; a Retry-After may ask for more.
        max_elapsed_seconds: for the whole call, waits included; a wait that would go beyond it is
            not begun.
    """

    max_attempts: int = 8
    initial_delay_seconds: float = 0.5
    max_delay_seconds: float = 30.0
    max_elapsed_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise InvalidRequest("max_attempts must be at least 1")
        if not 0.0 <= self.initial_delay_seconds <= self.max_delay_seconds:
            raise InvalidRequest("0 ≤ initial_delay_seconds ≤ max_delay_seconds must hold")
        if not self.max_elapsed_seconds > 0.0:
            raise InvalidRequest("max_elapsed_seconds must be positive")

    def delay_seconds(
        self, attempt: int, retry_after: float | None, rng: Callable[[], float]
    ) -> float:
        """How long to wait after attempt number `attempt`, which counts from 1.

        Args:
            attempt: the attempt that failed.
            retry_after: what the server asked for, seconds.
            rng: uniform on [0, 1): without it a fleet of workers comes back in step.
        """
        exponent = min(attempt - 1, 62)
        scale = min(self.max_delay_seconds, self.initial_delay_seconds * 2.0**exponent)
        own = scale * (0.5 + 0.5 * rng())
        if retry_after is None:
            return own
        return max(own, retry_after + rng() * self.initial_delay_seconds)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request and wait at most so long for the whole reply."""

    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RawReply:
    """An HTTP answer, read to its end; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer.

    Attributes:
        reason: for people, without anything of the request's content.
        timed_out: whether time ran out, rather than the connection breaking.
        sent: whether the server may have seen the request.
    """

    reason: str
    timed_out: bool
    sent: bool


Conversation = Generator[Send | Pause, RawReply | Failure | None, tuple[RawReply, int]]


def exchange(
    name: str,
    policy: RetryPolicy,
    *,
    timeout_seconds: float,
    repeatable: bool,
    clock: Callable[[], float],
    idempotency_key: str | None = None,
    rng: Callable[[], float] = random.random,
) -> Conversation:
    """One call: attempts and waits until there is an answer that a retry would not better.

    Args:
        name: of the call, for log lines ("POST /score").
        policy: how often and how patiently.
        timeout_seconds: for one attempt.
        repeatable: whether the server may do it twice; if not, only what it can't have done, or
            says it has not done, is repeated.
        clock: monotonic seconds.
        idempotency_key: of the call, told with a failure.
        rng: uniform on [0, 1).

    Returns:
        The last answer, of whatever status, and how often the request was sent.

    Raises:
        ConnectionFailed: the last attempt had no answer.
        TimedOut: the last attempt had no answer in time.
    """
    end = clock() + policy.max_elapsed_seconds
    attempt = num_undone = 0
    last: RawReply | Failure | None = None
    while True:
        attempt += 1
        left = max(end - clock(), 0.001)
        outcome = yield Send(min(timeout_seconds, left))
        if outcome is None:
            raise RuntimeError("a Send was answered with nothing: this is a bug")
        if last is not None and left < timeout_seconds and _is_late(outcome):
            outcome = last  # it was our own end that came too soon: what was said before tells more
        last = outcome
        retry_after = None
        if isinstance(outcome, RawReply):
            if not _is_worth_repeating(outcome.status, repeatable=repeatable):
                return outcome, attempt
            retry_after = parse_retry_after(outcome.headers.get("retry-after"))
        num_undone += _is_undone(outcome)
        used_up = policy.max_attempts == 1 or attempt - num_undone >= policy.max_attempts
        delay = policy.delay_seconds(attempt, retry_after, rng)
        given_up = used_up or clock() + delay >= end
        if isinstance(outcome, Failure):
            if given_up or (outcome.sent and not repeatable):
                kind = TimedOut if outcome.timed_out else ConnectionFailed
                raise kind(
                    f"{name}: {outcome.reason} ({attempt} attempts)", attempt, idempotency_key
                )
        elif given_up:
            return outcome, attempt
        reason = outcome.reason if isinstance(outcome, Failure) else f"HTTP {outcome.status}"
        # A hiccup is nothing to look at; a stall is, for nobody else will say why a trainer waits.
        level = logging.INFO if attempt < _QUIET_ATTEMPTS else logging.WARNING
        logger.log(level, "%s: %s; attempt %d follows in %.1f s", name, reason, attempt + 1, delay)
        yield Pause(delay)


def _is_late(outcome: RawReply | Failure) -> bool:
    return isinstance(outcome, Failure) and outcome.timed_out


def _is_undone(outcome: RawReply | Failure) -> bool:
    """Whether the server can't have worked on the request, or says that it has not."""
    return outcome.status in _REFUSED_UNDONE if isinstance(outcome, RawReply) else not outcome.sent


def _is_worth_repeating(status: int, *, repeatable: bool) -> bool:
    if not repeatable:
        return status in _REFUSED_UNDONE
    return status in _CURED_BY_WAITING or (status >= 500 and status not in _NEVER_CURED)


def parse_retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None if it says nothing.

    Dates are read against this machine's clock; one in the past is 0.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
