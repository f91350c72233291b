"""Both clients against servers that misbehave on purpose, and against the real one."""

import asyncio
import inspect
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rm_client import (
    AsyncRewardClient,
    ConnectionFailed,
    FailedReply,
    GroupReply,
    InvalidReply,
    InvalidRequest,
    ItemsFailed,
    NotAuthorized,
    NotFound,
    Overloaded,
    PpoItemReply,
    RequestRefused,
    ResponseReply,
    RetryPolicy,
    RewardClient,
    StreamSnapshot,
    TimedOut,
)
from rm_client.config import failure_of
from tests.rm_client.examples import FAILED, ITEM, STATISTICS, judged, problem, shaped
from tests.rm_client.servers import (
    Seen,
    cut_short,
    drop,
    forward,
    hang,
    real_server,
    reply,
    scripted_server,
    trickle,
)

ROOT = Path(__file__).parents[2]
OK = reply(200, {"items": [judged()]})

Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, quick: RetryPolicy) -> Ask:
    """Call a method of either client: `ask(url, "score", [item], timeout_seconds=1)`."""
    settings = ("retry", "timeout_seconds", "api_key", "connect_timeout_seconds")

    def synchronously(url: str, method: str, *args: Any, **options: Any) -> Any:
        own = {name: options.pop(name) for name in settings if name in options}
        with RewardClient(url, **{"retry": quick, **own}) as client:
            found = getattr(client, method)(*args, **options)
            return list(found) if inspect.isgenerator(found) else found

    def asynchronously(url: str, method: str, *args: Any, **options: Any) -> Any:
        own = {name: options.pop(name) for name in settings if name in options}

        async def run() -> Any:
            async with AsyncRewardClient(url, **{"retry": quick, **own}) as client:
                found = getattr(client, method)(*args, **options)
                if inspect.isasyncgen(found):
                    return [result async for result in found]
                return await found

        return asyncio.run(run())

    return synchronously if request.param == "sync" else asynchronously


def test_the_real_server_answers_every_call(ask: Ask, server_url: str) -> None:
    prompt, stream = "Is 27 prime?", f"client-{id(ask)}"
    group = {"prompt": prompt, "responses": ["No.", "Yes."]}
    chat = {
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": "No."},
        ]
    }
    one, several, said, empty = ask(
        server_url,
        "score",
        [{"prompt": prompt, "response": "No."}, group, chat, {"prompt": "p", "response": " "}],
    ).items
    assert isinstance(one, ResponseReply)
    assert isinstance(several, GroupReply)
    assert isinstance(said, ResponseReply)
    assert isinstance(empty, FailedReply)
    # A text and the same text as a user's turn: this checkpoint's template renders both alike.
    assert said.selected_reward == pytest.approx(one.selected_reward, abs=1e-5)
    assert empty.error.code == "empty_text"
    assert 0.0 < one.selected_score < 1.0

    (ranked,) = ask(server_url, "compare", [group]).items
    rewards = [response.selected_reward for response in ranked.responses]
    assert ranked.winner == rewards.index(max(rewards))

    item = {**ITEM, "logprobs": [-1.0, -2.0], "ref_logprobs": [-1.5, -1.0], "id": "a"}
    answer = ask(server_url, "ppo_reward", [item], stream=stream, beta=0.1, kl_estimator="k3")
    (result,) = answer.items
    assert isinstance(result, PpoItemReply)
    assert sum(result.token_rewards or ()) == pytest.approx(result.reward, abs=1e-6)
    assert answer.statistics.stream == stream

    found = ask(server_url, "get_stream", stream)
    assert found.num_samples == 1
    assert stream in [each.name for each in ask(server_url, "list_streams")]
    restored = ask(server_url, "put_stream", stream, StreamSnapshot(count=10.0, mean=1.0, std=2.0))
    assert (restored.count, restored.mean) == (10.0, 1.0)
    assert ask(server_url, "put_stream", stream, found.snapshot()).m2 == found.m2
    assert ask(server_url, "delete_stream", stream).num_samples == 0
    assert ask(server_url, "delete_stream", stream, forget=True) is None
    with pytest.raises(NotFound) as refused:
        ask(server_url, "get_stream", stream)
    assert refused.value.status == 404

    assert set(ask(server_url, "info")["models"]) == {"safety", "helpfulness"}
    assert ask(server_url, "ready") is True


def test_a_long_stream_of_items_is_answered_in_order(ask: Ask, server_url: str) -> None:
    items = [
        {"prompt": f"p{i % 5}", "response": f"response {i}" if i != 70 else " "} for i in range(150)
    ]
    results = ask(server_url, "score_iter", items, first_index=1000)
    alone = ask(server_url, "score", items).items
    assert len(results) == 150
    for index, (one, other) in enumerate(zip(results, alone, strict=True)):
        if index == 70:
            assert isinstance(one, FailedReply)
        else:
            assert one.selected_reward == pytest.approx(other.selected_reward, abs=1e-5)
    with pytest.raises(ItemsFailed) as caught:
        ask(server_url, "score_iter", items, first_index=1000, on_item_error="raise")
    assert list(caught.value.failures) == [1070]


def test_a_stream_of_items_is_read_no_further_than_what_is_under_way() -> None:
    taken: list[int] = []

    def items() -> Any:
        for number in range(10_000):
            taken.append(number)
            yield ITEM

    def lines(handler: Any, seen: Seen) -> None:
        first = int(seen.path.partition("first_index=")[2])
        size = len(seen.body.splitlines())
        body = b"".join(
            json.dumps({"index": first + i, **judged()}).encode() + b"\n" for i in range(size)
        )
        reply(200, body)(handler, seen)

    with scripted_server(lines) as server, RewardClient(server.url) as client:
        results = client.score_iter(items(), max_in_flight=2)
        next(results)
        assert len(taken) <= 3 * 64
        results.close()


def test_a_key_opens_a_guarded_server(
    ask: Ask, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    flags = ("--helpfulness-model", str(checkpoints["helpfulness"]))
    with real_server(tmp_path, *flags, REWARDD_API_KEYS='["right"]') as url:
        assert ask(url, "score", [ITEM], api_key="right").items
        assert ask(url, "ready") is True
        for options in ({}, {"api_key": "wrong"}):
            with pytest.raises(NotAuthorized) as caught:
                ask(url, "score", [ITEM], **options)
            assert "wrong" not in str(caught.value)


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
        ask(url, "score", [ITEM])
    assert caught.value.num_attempts == 4
    assert ask(url, "ready") is False


def test_a_server_that_stays_overloaded_is_told_so(ask: Ask) -> None:
    with scripted_server(reply(503, problem(503, "overloaded"))) as server:
        with pytest.raises(Overloaded, match="overloaded"):
            ask(server.url, "score", [ITEM])
        assert len(server.seen) == 4


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


def test_a_reset_whose_reply_is_lost_is_not_made_again(ask: Ask) -> None:
    with scripted_server(drop) as server:
        with pytest.raises(ConnectionFailed):
            ask(server.url, "delete_stream", "s")
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"items": []},
        {"items": [judged(), judged()]},
        {"items": [{"responses": [], "mean": None, "std": None, "advantages": []}]},
        {"items": [judged(selected="taste")]},
        {"items": [{**judged(), "selected_reward": None}]},
        {"items": {}},
        json.dumps({"items": [judged(float("nan"))]}).encode(),
        b"<html>Welcome to the hotel's network</html>",
        b"",
    ],
)
def test_an_answer_that_does_not_fit_is_an_invalid_reply(ask: Ask, body: Any) -> None:
    with scripted_server(reply(200, body)) as server:
        with pytest.raises(InvalidReply):
            ask(server.url, "score", [ITEM])
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    "item",
    [
        shaped(tokens=[0.1]),
        shaped(tokens=None),
        shaped(tokens=[0.1, 0.2, 0.3]),
        shaped(tokens=[0.1, 0.2], id="other"),
    ],
)
def test_token_rewards_must_fit_their_tokens(ask: Ask, item: dict[str, Any]) -> None:
    asked = {**ITEM, "logprobs": [-1.0, -1.0], "ref_logprobs": [-1.0, -1.0]}
    answer = reply(200, {"items": [item], "statistics": STATISTICS})
    with scripted_server(answer) as server, pytest.raises(InvalidReply):
        ask(server.url, "ppo_reward", [asked])


RANKING = {"winner": 0, "ranking": [0, 1], "ranks": [1, 2], "probabilities": [[0.5, 1], [0, 0.5]]}


@pytest.mark.parametrize(
    "changed",
    [
        {"ranking": [0, 0]},
        {"ranks": [1]},
        {"winner": 2},
        {"probabilities": [[0.5, 1]]},
        {"probabilities": [[0.5], [0.5]]},
        {"responses": [judged()]},
        {"safety": {**RANKING, "ranking": [0, 1, 2]}},
    ],
)
def test_a_ranking_must_be_of_the_responses(ask: Ask, changed: dict[str, Any]) -> None:
    whole = {**RANKING, "responses": [judged(), judged()]}
    item = {"prompt": "p", "responses": ["a", "b"]}
    with scripted_server(
        reply(200, {"items": [whole]}), reply(200, {"items": [{**whole, **changed}]})
    ) as server:
        assert ask(server.url, "compare", [item]).items[0].winner == 0
        with pytest.raises(InvalidReply):
            ask(server.url, "compare", [item])


@pytest.mark.parametrize(
    "lines",
    [
        [{"index": 1, **judged()}],
        [{"index": 0, **judged()}, {"index": 1, **judged()}],
        [],
        [judged()],
        ["text"],
    ],
)
def test_lines_that_do_not_fit_are_an_invalid_reply(ask: Ask, lines: list[Any]) -> None:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with scripted_server(reply(200, body)) as server, pytest.raises(InvalidReply):
        ask(server.url, "score_iter", [ITEM])


def test_failed_items_come_back_in_place_or_as_one_exception(ask: Ask) -> None:
    some = reply(200, {"items": [judged(), FAILED]})
    with scripted_server(some) as server:
        first, second = ask(server.url, "score", [ITEM, ITEM]).items
        assert isinstance(first, ResponseReply)
        assert isinstance(second, FailedReply)
        with pytest.raises(ItemsFailed) as caught:
            ask(server.url, "score", [ITEM, ITEM], on_item_error="raise")
        assert caught.value.failures[1].code == "empty_text"


def test_a_group_with_a_failure_names_the_response(ask: Ask) -> None:
    group = {"responses": [judged(), FAILED], "mean": 0.5, "std": 0.0, "advantages": [0.0, None]}
    with scripted_server(reply(200, {"items": [group]})) as server:
        item = {"prompt": "p", "responses": ["a", ""]}
        with pytest.raises(ItemsFailed) as caught:
            ask(server.url, "score", [item], on_item_error="raise")
        assert list(caught.value.failures) == [(0, 1)]


def test_all_items_failing_is_told_item_by_item(ask: Ask, server_url: str) -> None:
    items = [{"prompt": "p", "response": " "}] * 120
    results = ask(server_url, "score", items).items
    assert len(results) == 120
    assert all(isinstance(result, FailedReply) for result in results)
    assert results[99].error.code == "empty_text"
    with pytest.raises(ItemsFailed) as caught:
        ask(server_url, "ppo_reward", items)
    assert len(caught.value.failures) == 120


def test_an_envelope_that_is_refused_is_not_taken_for_failed_items(ask: Ask) -> None:
    refused = problem(422, "x", errors=[{"pointer": "/items", "code": "x", "detail": "d"}])
    with scripted_server(reply(422, refused)) as server, pytest.raises(RequestRefused):
        ask(server.url, "score", [ITEM])


@pytest.mark.parametrize(
    ("method", "items", "options"),
    [
        ("score", [], {}),
        ("score", [{"prompt": "p"}], {}),
        ("score", [{"prompt": "p", "response": 3}], {}),
        ("score", [{"prompt": "p", "response": "secret", "colour": "red"}], {}),
        ("score", [{"prompt": "p", "response": "secret \ud800"}], {}),
        ("score", [{"messages": [{"role": "user", "content": "secret"}] * 2}], {}),
        ("score", [ITEM], {"truncate": "middle"}),
        ("compare", [{"prompt": "p", "responses": ["secret"]}], {}),
        ("ppo_reward", [{**ITEM, "logprobs": [float("nan")], "ref_logprobs": [0.0]}], {}),
        ("ppo_reward", [{**ITEM, "logprobs": [-1.0]}], {}),
        ("ppo_reward", [{**ITEM, "logprobs": [-1.0], "ref_logprobs": [-1.0, -2.0]}], {}),
        ("ppo_reward", [ITEM], {"beta": -1.0}),
        ("ppo_reward", [ITEM], {"stream": "a/b"}),
        ("ppo_reward", [ITEM], {"whiten": "sometimes"}),
        ("ppo_reward", [ITEM], {"idempotency_key": "a\nb"}),
        ("get_stream", "..", {}),
        ("get_stream", "a/b", {}),
    ],
)
def test_what_is_not_valid_is_never_sent(
    ask: Ask, method: str, items: Any, options: dict[str, Any]
) -> None:
    with scripted_server(OK) as server:
        with pytest.raises(InvalidRequest) as caught:
            ask(server.url, method, items, **options)
        assert "secret" not in str(caught.value)
        assert server.seen == []


@pytest.mark.parametrize(
    "url", ["", "rewards:8000", "ftp://rewards", "http://", "http://h/?a=1", "http://h:port"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidRequest):
        RewardClient(url)


def test_an_address_may_have_a_path_in_front() -> None:
    with scripted_server(OK) as server, RewardClient(f"{server.url}/team/rewards/") as client:
        client.score([ITEM])
        assert server.seen[0].path == "/team/rewards/score"


def test_a_redirect_is_not_followed(ask: Ask) -> None:
    elsewhere = reply(307, Location="http://127.0.0.1:1/score")
    with scripted_server(elsewhere) as server, pytest.raises(InvalidReply, match="the address"):
        ask(server.url, "score", [ITEM])


def test_every_failure_of_the_transport_is_understood() -> None:
    def kinds(kind: type[Exception]) -> list[type[Exception]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in kinds(sub))]

    for kind in kinds(httpx.TransportError):
        failure = failure_of(kind("secret"))  # type: ignore[arg-type]
        assert "secret" not in failure.reason
        assert failure.timed_out == issubclass(kind, httpx.TimeoutException)


def test_a_client_survives_pickling_and_shows_no_key(server_url: str, quick: RetryPolicy) -> None:
    client = RewardClient(server_url, api_key="s3cret", retry=quick, timeout_seconds=7.0)
    expected = client.score([ITEM])
    other = pickle.loads(pickle.dumps(client))
    assert other.config == client.config
    assert other.score([ITEM]) == expected
    assert "s3cret" not in repr(client) + repr(client.config)


async def test_an_async_client_survives_pickling(server_url: str) -> None:
    async with AsyncRewardClient(server_url) as client:
        expected = await client.score([ITEM])
        async with pickle.loads(pickle.dumps(client)) as other:
            assert await other.score([ITEM]) == expected


def test_one_async_client_serves_several_event_loops(server_url: str) -> None:
    client = AsyncRewardClient(server_url)
    rewards = []

    def work() -> None:
        for _ in range(2):  # a loop of its own each time
            found = asyncio.run(client.score([ITEM]))
            rewards.append(found.items[0].selected_reward)  # type: ignore[union-attr]

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert rewards == [pytest.approx(rewards[0], abs=1e-5)] * 6


def _score_in_child(client: RewardClient, answers: Any) -> None:
    answers.put((os.getpid(), client.score([ITEM]).items[0].selected_reward))  # type: ignore[union-attr]


def test_a_client_survives_a_fork_without_sharing_connections(server_url: str) -> None:
    # A child of a process without other threads' locks: the suite's own process may hold some.
    program = f"""
import multiprocessing
from rm_client import RewardClient
from tests.rm_client.test_client import ITEM, _score_in_child
client = RewardClient({server_url!r})
before = client.score([ITEM])
context = multiprocessing.get_context("fork")
answers = context.Queue()
children = [context.Process(target=_score_in_child, args=(client, answers)) for _ in range(4)]
for child in children: child.start()
found = [answers.get(timeout=30)[1] for _ in children]
for child in children: child.join(30)
expected = before.items[0].selected_reward
assert all(abs(reward - expected) < 1e-5 for reward in found), found
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_errors_survive_a_process_pool() -> None:
    for error in (
        Overloaded("m", 3, "key"),
        RequestRefused("m", 422),
        ItemsFailed({0: FailedReply.model_validate(FAILED).error}),
    ):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), other.__dict__) == (
            type(error),
            str(error),
            error.__dict__,
        )


def test_threads_share_one_client(server_url: str) -> None:
    with RewardClient(server_url) as client:
        items = [{**ITEM, "response": f"answer {number}"} for number in range(8)]
        expected = [client.score([item]).items[0].selected_reward for item in items]  # type: ignore[union-attr]
        found: dict[int, float] = {}

        def work(number: int) -> None:
            for _ in range(5):
                reply = client.score([items[number]])
                found[number] = reply.items[0].selected_reward  # type: ignore[union-attr]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert [found[number] for number in range(8)] == pytest.approx(expected, abs=1e-5)


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(kind).items()
            if not name.startswith("_") and callable(member)
        }

    sync, asynchronous = public(RewardClient), public(AsyncRewardClient)
    assert sync.pop("close") == asynchronous.pop("aclose")
    assert sync == asynchronous


assert multiprocessing  # used by the child of the fork test
