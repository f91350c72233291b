"""The retry policy by itself: no clock, no network."""

import contextlib
import datetime as dt
import email.utils
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_client.errors import ConnectionFailed, InvalidRequest, TimedOut
from rm_client.retry import (
    Failure,
    Pause,
    RawReply,
    RetryPolicy,
    Send,
    exchange,
    parse_retry_after,
)

OK = RawReply(200, {}, b"{}")
BROKE = Failure("broke", timed_out=False, sent=True)
LATE = Failure("late", timed_out=True, sent=True)
UNREACHED = Failure("no route", timed_out=False, sent=False)


def answer(status: int, **headers: str) -> RawReply:
    return RawReply(status, headers, b"")


class Clock:
    """Time that passes only by pauses, and by what each attempt takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def hold(
    outcomes: Iterable[RawReply | Failure],
    policy: RetryPolicy | None = None,
    *,
    repeatable: bool = True,
    attempt_seconds: float = 0.0,
    rng: Callable[[], float] = lambda: 1.0,
) -> tuple[RawReply, int, list[float], list[float]]:
    """Run a conversation; gives the answer, the attempts, the pauses and the attempts' limits."""
    clock = Clock()
    left = list(outcomes)
    pauses: list[float] = []
    limits: list[float] = []
    conversation = exchange(
        "POST /x",
        policy or RetryPolicy(),
        timeout_seconds=60.0,
        repeatable=repeatable,
        clock=clock,
        idempotency_key="k",
        rng=rng,
    )
    outcome: RawReply | Failure | None = None
    while True:
        try:
            step = conversation.send(outcome)
        except StopIteration as end:
            assert not left, "it gave up early"
            return (*end.value, pauses, limits)
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            clock.now += step.seconds
            outcome = None
        else:
            assert isinstance(step, Send)
            limits.append(step.timeout_seconds)
            clock.now += attempt_seconds
            outcome = left.pop(0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_what_waiting_may_cure_is_sent_again(status: int) -> None:
    reply, attempts, _, _ = hold([answer(status), OK])
    assert (reply, attempts) == (OK, 2)


@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 404, 413, 422, 501, 505])
def test_what_waiting_can_not_cure_is_not_sent_again(status: int) -> None:
    reply, attempts, pauses, _ = hold([answer(status)])
    assert (reply.status, attempts, pauses) == (status, 1, [])


def test_waits_grow_and_stop_at_the_longest() -> None:
    policy = RetryPolicy(initial_delay_seconds=1.0, max_delay_seconds=5.0)
    *_, pauses, _ = hold([BROKE] * 5 + [OK], policy)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_retry_after_is_the_least_that_is_waited() -> None:
    policy = RetryPolicy(initial_delay_seconds=0.5)
    *_, pauses, _ = hold([answer(503, **{"retry-after": "7"}), OK], policy, rng=lambda: 0.5)
    assert pauses == [7.25]


def test_a_retry_after_beyond_the_time_allowed_is_not_begun() -> None:
    policy = RetryPolicy(max_elapsed_seconds=10.0)
    reply, attempts, pauses, _ = hold([answer(503, **{"retry-after": "3600"})], policy)
    assert (reply.status, attempts, pauses) == (503, 1, [])


def test_the_last_refusal_comes_back_when_the_attempts_are_used_up() -> None:
    reply, attempts, _, _ = hold([answer(500)] * 3, RetryPolicy(max_attempts=3))
    assert (reply.status, attempts) == (500, 3)


@pytest.mark.parametrize("away", [UNREACHED, answer(503), answer(429)])
def test_a_server_that_is_away_or_full_is_waited_for_as_long_as_time_allows(
    away: RawReply | Failure,
) -> None:
    # Half a second, 1, 2, 4, 8, 16 and six times 30: far more than max_attempts.
    reply, attempts, pauses, _ = hold([away] * 12 + [OK], RetryPolicy(max_attempts=2))
    assert (reply, attempts) == (OK, 13)
    assert 200.0 < sum(pauses) < 300.0


def test_a_server_that_stays_away_is_given_up_when_the_time_is_used_up() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        hold([UNREACHED] * 15)
    assert caught.value.num_attempts == 15  # after 271.5 s; the next wait would end past 300
    assert hold([answer(503)] * 15)[0].status == 503


def test_what_was_undone_uses_up_no_attempt_of_what_was_not() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert hold([UNREACHED, BROKE, answer(503), BROKE, UNREACHED, OK], policy)[1] == 6
    with pytest.raises(ConnectionFailed):
        hold([UNREACHED, BROKE, BROKE, BROKE], policy)


def test_a_last_attempt_that_our_own_end_cuts_short_does_not_hide_what_was_said_before() -> None:
    policy = RetryPolicy(max_elapsed_seconds=10.0, initial_delay_seconds=6.0)
    assert hold([answer(503), LATE], policy, attempt_seconds=1.0)[0].status == 503


@pytest.mark.parametrize("outcome", [UNREACHED, BROKE, answer(503)])
def test_one_attempt_is_one_attempt(outcome: RawReply | Failure) -> None:
    with contextlib.suppress(ConnectionFailed):
        assert hold([outcome], RetryPolicy(max_attempts=1))[1] == 1


@pytest.mark.parametrize(("failure", "kind"), [(BROKE, ConnectionFailed), (LATE, TimedOut)])
def test_the_last_failure_is_raised_with_its_attempts_and_key(
    failure: Failure, kind: type[ConnectionFailed | TimedOut]
) -> None:
    with pytest.raises(kind, match="POST /x") as caught:
        hold([failure] * 3, RetryPolicy(max_attempts=3))
    assert (caught.value.num_attempts, caught.value.idempotency_key) == (3, "k")


def test_a_hiccup_is_silent_and_a_stall_is_a_warning_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold([answer(503), answer(503), OK])
    assert caplog.records == []
    hold([answer(503)] * 3 + [OK])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "POST /x: HTTP 503; attempt 4" in record.getMessage()


def test_no_attempt_outlives_the_time_allowed() -> None:
    policy = RetryPolicy(max_elapsed_seconds=100.0, initial_delay_seconds=1.0)
    *_, limits = hold([LATE, LATE, OK], policy, attempt_seconds=30.0)
    assert limits == [60.0, 60.0, 100.0 - 2 * 30.0 - 1.0 - 2.0]


def test_what_must_not_happen_twice_is_repeated_only_if_it_did_not_happen() -> None:
    assert hold([UNREACHED, OK], repeatable=False)[1] == 2
    assert hold([answer(503), OK], repeatable=False)[1] == 2
    assert hold([answer(500)], repeatable=False)[1] == 1
    with pytest.raises(ConnectionFailed):
        hold([BROKE], repeatable=False)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1000))
def test_a_wait_lies_between_half_and_all_of_its_scale(
    attempt: int, draw: float, retry_after: float | None
) -> None:
    policy = RetryPolicy(initial_delay_seconds=0.5, max_delay_seconds=30.0)
    scale = min(30.0, 0.5 * 2.0 ** (attempt - 1))
    delay = policy.delay_seconds(attempt, retry_after, lambda: draw)
    least = max(scale / 2, retry_after or 0.0)
    assert least <= delay <= max(scale, (retry_after or 0.0) + 0.5)


def test_retry_after_may_be_a_number_or_a_date() -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    assert parse_retry_after("12") == 12.0
    assert parse_retry_after(email.utils.format_datetime(soon, usegmt=True)) == pytest.approx(
        60, abs=2
    )
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [parse_retry_after(value) for value in (None, "", "soon", "-1", "1e9")] == [None] * 5


@pytest.mark.parametrize(
    "values",
    [
        {"max_attempts": 0},
        {"initial_delay_seconds": -1.0},
        {"initial_delay_seconds": 2.0, "max_delay_seconds": 1.0},
        {"max_elapsed_seconds": 0.0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest):
        RetryPolicy(**values)  # type: ignore[arg-type]
