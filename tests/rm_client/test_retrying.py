"""Both clients against servers that fail, stall, refuse and die."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rm_client import (
    ConnectionFailed,
    NotAuthorized,
    NotFound,
    Overloaded,
    RequestRefused,
    RetryPolicy,
    TimedOut,
)
from tests.rm_client.calling import QUICK, Ask
from tests.rm_client.examples import ITEM, STATISTICS, problem, scored, shaped
from tests.rm_client.servers import (
    Seen,
    cut_short,
    drop,
    forward,
    hang,
    modelless_server,
    reply,
    scripted_server,
    trickle,
)

OK = reply(200, {"items": [scored()]})
BRIEF = replace(QUICK, max_elapsed_seconds=0.5)


@pytest.mark.parametrize(
    "trouble", [drop, cut_short, reply(503), reply(429), reply(500), reply(502, b"<html>")]
)
def test_what_fails_once_is_tried_again(ask: Ask, trouble: Any) -> None:
    with scripted_server(trouble, OK) as server:
        (result,) = ask(server.url, "score", [ITEM]).items
        assert result.selected_reward == 0.5
        assert len(server.seen) == 2


def test_retry_after_is_waited_for(ask: Ask) -> None:
    with scripted_server(reply(503, Retry_After="1"), OK) as server:
        ask(server.url, "score", [ITEM])
        first, second = server.seen
        assert 1.0 <= second.at - first.at < 3.0


@pytest.mark.parametrize("silence", [hang, trickle])
def test_an_attempt_that_takes_too_long_is_given_up_and_tried_again(ask: Ask, silence: Any) -> None:
    with scripted_server(silence, OK) as server:
        assert ask(server.url, "score", [ITEM], timeout_seconds=0.4).items
        assert len(server.seen) == 2
        assert server.seen[0].headers["X-Request-Timeout-Ms"] == "400"


def test_silence_to_the_end_is_a_time_out(ask: Ask) -> None:
    with scripted_server(hang) as server, pytest.raises(TimedOut) as caught:
        ask(
            server.url,
            "score",
            [ITEM],
            timeout_seconds=0.1,
            retry=RetryPolicy(max_attempts=2, initial_delay_seconds=0.01),
        )
    assert caught.value.num_attempts == 2


def test_a_server_that_is_not_there_is_told_so(ask: Ask) -> None:
    with scripted_server(OK) as server:
        url = server.url
    with pytest.raises(ConnectionFailed, match="is it running") as caught:
        ask(url, "score", [ITEM], retry=BRIEF)
    assert caught.value.num_attempts > QUICK.max_attempts
    assert ask(url, "ready") is False


def test_a_server_that_stays_overloaded_is_told_so(ask: Ask) -> None:
    with scripted_server(reply(503, problem(503, "overloaded"))) as server:
        with pytest.raises(Overloaded, match="overloaded"):
            ask(server.url, "score", [ITEM], retry=BRIEF)
        assert len(server.seen) > QUICK.max_attempts


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, NotAuthorized),
        (403, NotAuthorized),
        (404, NotFound),
        (413, RequestRefused),
        (422, RequestRefused),
    ],
)
def test_a_refusal_is_not_tried_again(ask: Ask, status: int, kind: type[RequestRefused]) -> None:
    with scripted_server(reply(status, problem(status, "some_code"))) as server:
        with pytest.raises(kind) as caught:
            ask(server.url, "score", [ITEM])
        assert (caught.value.status, caught.value.code) == (status, "some_code")
        assert len(server.seen) == 1


def test_one_key_is_made_per_call_and_kept_over_its_attempts(ask: Ask) -> None:
    fine = reply(200, {"items": [shaped()], "statistics": STATISTICS})
    with scripted_server(drop, reply(503), fine) as server:
        ask(server.url, "ppo_reward", [ITEM])
        ask(server.url, "ppo_reward", [ITEM])
        ask(server.url, "ppo_reward", [ITEM], idempotency_key="step-12")
        keys = [seen.headers["Idempotency-Key"] for seen in server.seen]
        assert keys[0] == keys[1] == keys[2]
        assert len({keys[2], keys[3], keys[4]}) == 3
        assert keys[4] == "step-12"
        assert len({seen.body for seen in server.seen}) == 1


def test_a_reply_that_is_lost_after_the_commit_counts_once(ask: Ask, server_url: str) -> None:
    stream = f"lost-{id(ask)}"
    lossy, clear = forward(server_url, lose_reply=True), forward(server_url, lose_reply=False)
    items = [{**ITEM, "response": f"answer {i}"} for i in range(5)]
    with scripted_server(lossy, lossy, clear) as server:
        answer = ask(server.url, "ppo_reward", items, stream=stream)
        assert len(server.seen) == 3
    found = ask(server_url, "get_stream", stream)
    assert (found.num_samples, found.version) == (5, answer.statistics.version)


def test_a_server_killed_after_its_commit_and_started_anew_counts_once(
    ask: Ask, tmp_path: Path
) -> None:
    items = [{**ITEM, "response": f"answer {number}"} for number in range(5)]
    with ExitStack() as first, ExitStack() as second:
        url = first.enter_context(modelless_server(tmp_path))

        def commit_and_die(handler: Any, seen: Seen) -> None:
            forward(url, lose_reply=True)(handler, seen)
            first.close()  # SIGKILL

        def refuse_then_return(handler: Any, seen: Seen) -> None:
            (tmp_path / "port").unlink()
            revived = second.enter_context(modelless_server(tmp_path))
            forward(revived, lose_reply=False)(handler, seen)

        with scripted_server(commit_and_die, drop, refuse_then_return) as server:
            answer = ask(server.url, "ppo_reward", items, stream="survivor")
            assert len(server.seen) == 3
            stream = ask(_address(tmp_path), "get_stream", "survivor")
    assert (stream.num_samples, stream.version) == (5, answer.statistics.version)
    assert answer.statistics.num_merged == 5


def _address(directory: Path) -> str:
    return f"http://127.0.0.1:{int((directory / 'port').read_text())}"


def test_a_reset_whose_reply_is_lost_is_not_made_again(ask: Ask) -> None:
    with scripted_server(drop) as server:
        with pytest.raises(ConnectionFailed):
            ask(server.url, "delete_stream", "s")
        assert len(server.seen) == 1
