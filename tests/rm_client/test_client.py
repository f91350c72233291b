"""Every call of both clients, against the real server and against nonsense."""

import asyncio
import inspect
import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from rm_client import (
    AsyncRewardClient,
    ConnectionFailed,
    ExpectVersion,
    FailedReply,
    GroupReply,
    InvalidReply,
    InvalidRequest,
    ItemsFailed,
    NotAuthorized,
    NotFound,
    PpoItemReply,
    RequestRefused,
    ResponseReply,
    RetryPolicy,
    RewardClient,
    StreamSnapshot,
    TimedOut,
)
from rm_client.config import failure_of
from tests.rm_client.calling import Ask
from tests.rm_client.examples import ITEM, scored
from tests.rm_client.servers import (
    Seen,
    hang,
    modelless_server,
    reply,
    scripted_server,
)

OK = reply(200, {"items": [scored()]})


def test_tokens_steps_and_advantages_are_asked_for_by_name(ask: Ask, server_url: str) -> None:
    prompt, steps = "What is 2 + 2?", ["2 + 2 = 4.\n\n", "So 4."]

    tokens = ask(
        server_url, "score", [{"prompt": prompt, "response": steps[0]}], detail="tokens"
    ).items[0]
    given, split = (
        ask(server_url, "score", [item], detail="steps", aggregation="product").items[0]
        for item in (
            {"prompt": prompt, "steps": steps},
            {"prompt": prompt, "response": "".join(steps)},
        )
    )
    group = {"prompt": prompt, "responses": ["4", "4", "five"]}
    (rloo,) = ask(server_url, "score", [group], advantages="rloo").items

    model = tokens.helpfulness or tokens.safety
    assert model.tokens.rewards[-1] == pytest.approx(model.reward, abs=1e-5)
    assert "".join(model.tokens.texts).startswith("2 + 2")
    found = given.helpfulness or given.safety
    assert found.steps.score == pytest.approx(math.prod(found.steps.scores))
    assert split == given
    rewards = [response.selected_reward for response in rloo.responses]
    assert rloo.advantages[2] == pytest.approx(rewards[2] - (rewards[0] + rewards[1]) / 2)
    assert (rloo.duplicates, rloo.num_duplicates) == ([1], 1)


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


def test_an_empty_response_and_one_that_is_too_long_are_scored_where_it_is_asked_for(
    ask: Ask, server_url: str
) -> None:
    user = {"role": "user", "content": "p"}
    empty = {"prompt": "p", "response": ""}
    chat = {"messages": [user, {"role": "assistant", "content": ""}]}
    long = {"prompt": "p", "response": "so and so " * 200}

    refused = ask(server_url, "score", [empty, chat, long], truncate="prompt").items
    scored = ask(
        server_url,
        "score",
        [{**empty, "allow_empty": True}, {**chat, "allow_empty": True}, long],
        truncate="left",
    ).items
    (shaped,) = ask(server_url, "ppo_reward", [{**empty, "allow_empty": True}], whiten="none").items
    group = {"prompt": "p", "responses": ["", "a"], "allow_empty": True}
    (ranked,) = ask(server_url, "compare", [group]).items

    assert [one.error.code for one in refused] == ["empty_text", "empty_text", "input_too_long"]
    assert [isinstance(one, ResponseReply) for one in scored] == [True] * 3
    assert "truncated" in scored[2].warnings
    assert shaped.logit == pytest.approx(scored[0].selected_reward, abs=1e-5)
    assert ranked.responses[0].selected_reward == pytest.approx(shaped.logit, abs=1e-5)


def test_other_weights_or_statistics_than_expected_are_refused(ask: Ask, server_url: str) -> None:
    stream = f"expected-{id(ask)}"
    digest = ask(server_url, "info")["models"]["safety"]["digest"][:16]
    right = ExpectVersion(safety=digest, stream=0)
    version = ask(
        server_url, "ppo_reward", [ITEM], stream=stream, expect_version=right
    ).statistics.version
    for wrong in (ExpectVersion(safety="0" * 16), ExpectVersion(stream=version + 7)):
        with pytest.raises(RequestRefused) as caught:
            ask(server_url, "ppo_reward", [ITEM], stream=stream, expect_version=wrong)
        assert (caught.value.status, caught.value.code) == (412, "version_mismatch")
    assert ask(server_url, "get_stream", stream).num_samples == 1


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
            json.dumps({"index": first + i, **scored()}).encode() + b"\n" for i in range(size)
        )
        reply(200, body)(handler, seen)

    with scripted_server(lines) as server, RewardClient(server.url) as client:
        results = client.score_iter(items(), max_in_flight=2)
        next(results)
        assert len(taken) <= 3 * 64
        results.close()


def test_a_key_opens_a_guarded_server(ask: Ask, tmp_path: Path) -> None:
    with modelless_server(tmp_path, REWARDD_API_KEYS='["right"]') as url:
        assert ask(url, "score", [ITEM], api_key="right").items
        assert ask(url, "ready") is True
        for options in ({}, {"api_key": "wrong"}):
            with pytest.raises(NotAuthorized) as caught:
                ask(url, "score", [ITEM], **options)
            assert "wrong" not in str(caught.value)


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


def test_a_key_in_the_address_is_sent_and_never_shown() -> None:
    with scripted_server(OK) as server:
        address = server.url.replace("//", "//any:s3cr%2Fet@")
        client = RewardClient(address, retry=RetryPolicy(max_attempts=1))
        client.score([ITEM])
        shown = [repr(client), repr(client.config), str(client.config.url)]
    (seen,) = server.seen
    assert seen.headers["Authorization"] == "Bearer s3cr/et"
    with pytest.raises(ConnectionFailed) as gone:  # nobody answers any more
        RewardClient(address, retry=RetryPolicy(max_attempts=1)).score([ITEM])
    assert not any("s3cr" in text for text in (*shown, str(gone.value), repr(gone.value)))


@pytest.mark.parametrize("url", ["http://s3cret@h", "http://any:s3cret@h:port", "//s3cret@h"])
def test_an_address_with_a_key_that_is_not_understood_does_not_show_it(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RewardClient(url)
    assert "s3cret" not in str(refused.value)


def test_two_keys_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no other key"):
        RewardClient("http://any:one@h", api_key="two")


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


def test_a_loop_that_ends_takes_its_connections_along(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[httpx.AsyncClient] = []

    class Recorded(httpx.AsyncClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            opened.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Recorded)
    with scripted_server(OK) as server:
        client = AsyncRewardClient(server.url)

        async def step() -> None:
            await asyncio.gather(client.score([ITEM]), client.score([ITEM]))

        for _ in range(3):
            asyncio.run(step())  # as trainers do that have no loop of their own
    assert [http.is_closed for http in opened] == [True] * 3


async def test_less_time_for_a_call_costs_no_connection() -> None:
    with scripted_server(OK) as server, RewardClient(server.url) as plain:
        plain.within(2.0).score([ITEM])
        plain.within(1.0).score([ITEM])
        assert len({seen.client_port for seen in server.seen}) == 1
    with scripted_server(OK) as server:
        async with AsyncRewardClient(server.url) as client:
            await client.within(2.0).score([ITEM])
            await client.score([ITEM])
        assert len({seen.client_port for seen in server.seen}) == 1
    with scripted_server(hang) as server, pytest.raises(TimedOut):
        await AsyncRewardClient(server.url).within(0.2).score([ITEM])


async def test_a_loop_keeps_its_connection_from_call_to_call() -> None:
    with scripted_server(OK) as server:
        async with AsyncRewardClient(server.url) as client:
            for _ in range(3):
                await client.score([ITEM])
        assert len({seen.client_port for seen in server.seen}) == 1
