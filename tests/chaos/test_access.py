"""Strangers at the door, secrets on their way out, and calls to elsewhere."""

import json
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.attacked import AttackedServer
from tests.chaos.conftest import Chaos, Launch
from tests.fakes import ENCODE_ERROR_MARK
from tests.models import make_tokenizer, save_checkpoint
from tests.server_process import server_process

KEYS = "canary-key-boss name=boss\ncanary-key-score scopes=score name=trainer\n"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "get", "X")
PATHS = (
    *("/score", "/compare", "/ppo_reward", "/metrics", "/openapi.json", "/docs", "/v1/info", "/"),
    *("/streams/x", "/v1/models", "/get_reward", "/classify", "/v2/health/live", "/nowhere"),
)
WRAPS = (
    *("{}", "{}/", "/{}", "//health/live/..{}", "/health/live/..{}", "/health/live;{}", "/%2e{}"),
    *("{}/../../health/live", "/health/live%2f..%2f..{}", "/%68ealth/liv%65{}", "{}%00", "{}.json"),
    *("{}?path=/health/live", "{}#/health/live", "http://x/health/live/..{}", "{}?api_key=all"),
)
HEADERS = (
    *("Host: x/health/live?", "Host: x/health/live#", "Host: x", "X-Forwarded-Prefix: /health"),
    *("X-Original-URL: /health/live", "X-Rewrite-URL: /health/live", "X-Forwarded-For: 127.0.0.1"),
    *("X-HTTP-Method-Override: GET", "X-API-Key:", "X-API-Key: CANARY-KEY-BOSS", "Authorization:"),
    *(
        "Authorization: Bearer",
        "Authorization: Bearer cAnary-key-boss",
        "Authorization: Basic Og==",
    ),
    *("Authorization: Bearer canary-key-bos\u017f", "X-API-Key: canary-key-boss\x00", "Expect: x"),
    *(
        "X-API-Key: " + "k" * 4000,
        "Cookie: key=canary-key-boss",
        "X-API-Key: boss, canary-key-boss",
    ),
)
BODIES = ("", "{", "[]", "\xff\xfe", '{"prompt": "p", "response": "r"}')


@pytest.fixture
def guarded(launch: Launch, tmp_path: Path) -> AttackedServer:
    (tmp_path / "keys").write_text(KEYS)
    return launch(REWARDD_API_KEYS_FILE=str(tmp_path / "keys"))


@dataclass
class Stranger:
    """Requests written by hand, one connection for each, as no client would mend them."""

    port: int
    chance: random.Random

    def ask(self, key: str | None = None) -> tuple[str, int]:
        method, path, body = map(self.chance.choice, (METHODS, PATHS, BODIES))
        target = self.chance.choice(WRAPS).format(path)
        lines = self.chance.sample(HEADERS, self.chance.randrange(4))
        if key is not None:
            lines = [f"X-API-Key: {key}"]
        if not any(line.startswith("Host") for line in lines):
            lines.append("Host: 127.0.0.1")
        content = body.encode("latin-1")
        lines += [f"Content-Length: {len(content)}", "Connection: close"]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines]) + "\r\n\r\n"
        asked = head.encode("utf-8") + content
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(asked)
            reply = b""
            while b"\r\n" not in reply:
                chunk = connection.recv(65_536)
                if not chunk:
                    break
                reply += chunk
        return repr(asked), int(reply.split(b" ")[1])


def test_no_stranger_gets_further_than_401(guarded: AttackedServer, chaos: Chaos) -> None:
    stranger = Stranger(guarded.port, chaos.random("stranger"))
    asked = [stranger.ask() for _ in range(chaos.times(600, 40_000))]

    # What is no HTTP at all the parser refuses: a path was never read.
    counts = Counter(status for _, status in asked)
    assert set(counts) <= {400, 401}, [one for one in asked if one[1] not in {400, 401}][:5]
    assert counts[401] > 0.5 * len(asked)
    assert '"request_failed"' not in guarded.log.read_text()


def test_with_a_key_the_same_requests_are_told_apart(guarded: AttackedServer, chaos: Chaos) -> None:
    stranger = Stranger(guarded.port, chaos.random("friend"))
    statuses = {stranger.ask("canary-key-boss")[1] for _ in range(300)}

    assert {200, 404, 405} <= statuses
    assert 401 not in statuses


CANARY = "canary-text-4711"
TEXT = f"{CANARY} as a field"  # one that could be a name is told, for whoever misspelt it


def odd_requests(chance: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Requests of every outcome that hold the canary wherever a caller may write."""
    item = {"prompt": f"a {CANARY} b", "response": f"{CANARY} r"}
    bodies: list[Any] = [
        json.dumps(item),
        json.dumps({"items": [item, {"prompt": CANARY, "response": ""}, {TEXT: CANARY}]}),
        json.dumps({**item, TEXT: 1}),
        json.dumps({**item, "response": f"{ENCODE_ERROR_MARK} {CANARY}"}),
        json.dumps({**item, "response": [CANARY]}),
        json.dumps({**item, "detail": CANARY}),
        json.dumps({**item, "response": CANARY + "\ud800\u2028\x1b[31m"}),
        json.dumps({"query": [CANARY, f"{ENCODE_ERROR_MARK}{CANARY}"], "stream": f"/{CANARY}"}),
        f'{{"prompt": "{CANARY}", "response": NaN}}',
        f'{{"prompt": "{CANARY}" "response"',
        CANARY.encode() + b"\xff\xfe",
        f"{json.dumps(item)}\n{CANARY}\n",
    ]
    paths = [
        *("/score", "/compare", "/ppo_reward", "/get_reward", "/classify", "/rerank", "/rm", "/"),
        *(f"/{CANARY}", f"/v1/models/{CANARY}", f"/score?reward={CANARY}", f"/rm?stop={CANARY}"),
        *(f"/get_reward?reward={CANARY}", f"/streams/ {CANARY}", f"/v2/models/{CANARY}/infer"),
    ]
    headers = [
        {},
        {"X-Request-ID": f"{CANARY} {CANARY}"},
        {"X-Request-Timeout-Ms": CANARY},
        {"Idempotency-Key": CANARY * 20},
        {"Content-Type": f"application/{CANARY}"},
        {"Content-Type": "application/x-ndjson"},
        {"Content-Encoding": CANARY},
        {CANARY: CANARY, "User-Agent": CANARY, "Referer": f"http://x/{CANARY}"},
    ]
    keys = ("canary-key-boss", "canary-key-boss", "canary-key-score", f"canary-key-{CANARY}", "")
    for _ in range(count):
        given = {"Content-Type": "application/json", **chance.choice(headers)}
        yield {
            "method": chance.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE")),
            "url": chance.choice(paths),
            "content": chance.choice(bodies),
            "headers": {**given, "X-API-Key": chance.choice(keys)},
        }


def everything_told(server: AttackedServer, chance: random.Random, count: int) -> dict[str, str]:
    """What the service said while it was asked, by where it said it."""
    boss = {"X-API-Key": "canary-key-boss"}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        replies = [client.request(**asked) for asked in odd_requests(chance, count)]
        server.process.send_signal(signal.SIGHUP)
        told = {
            "metrics": client.get("/metrics", headers=boss).text,
            "document": client.get("/openapi.json", headers=boss).text,
            "information": client.get("/v1/info", headers=boss).text,
        }
    statuses = {reply.status_code for reply in replies}
    assert {200, 401, 404, 405, 422} <= statuses, statuses
    refused = [reply for reply in replies if reply.status_code >= 400]
    return told | {
        "refusals": "\n".join(f"{reply.text}{reply.headers}" for reply in refused),
        "log": server.log.read_text(),
        "command line": Path(f"/proc/{server.pid}/cmdline").read_text(),
    }


def leaks(told: dict[str, str]) -> set[str]:
    return {place for place, text in told.items() if "canary" in text.lower()}


def test_neither_texts_nor_secrets_are_told_anywhere(guarded: AttackedServer, chaos: Chaos) -> None:
    told = everything_told(guarded, chaos.random("canaries"), chaos.times(400, 10_000))

    assert leaks(told) == set()
    assert '"error": "RuntimeError"' in told["log"]  # a bug whose message held the text
    events = [json.loads(line) for line in told["log"].splitlines()]
    assert {"trainer", "boss"} <= {event.get("caller") for event in events}
    assert {event["status"] for event in events if event["event"] == "request"} >= {200, 401, 422}


def test_a_service_that_tells_is_found_out(launch: Launch, chaos: Chaos, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEYS)
    leaky = launch(
        "tests.chaos.leaky_server",
        REWARDD_API_KEYS_FILE=str(tmp_path / "keys"),
        REWARDD_API_KEYS='["canary-of-the-environment"]',
    )

    told = everything_told(leaky, chaos.random("canaries"), 400)

    assert leaks(told) == {"metrics", "refusals", "log"}


def test_keys_are_rotated_under_way(guarded: AttackedServer, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    statuses = []

    def ask(key: str) -> int:
        return httpx.get(f"{guarded.url}/v1/info", headers={"X-API-Key": key}).status_code

    def until_accepted(key: str) -> None:
        give_up = time.monotonic() + 30
        while ask(key) != 200:
            assert time.monotonic() < give_up, guarded.log.read_text()
            time.sleep(0.02)

    (tmp_path / "new").write_text("second\n")
    (tmp_path / "new").replace(file)
    until_accepted("second")  # found by itself
    statuses.append(ask("canary-key-boss"))

    file.write_text("third\n")
    guarded.process.send_signal(signal.SIGHUP)
    until_accepted("third")
    statuses.append(ask("second"))

    file.write_text("third\nbroken nonsense\n")
    guarded.process.send_signal(signal.SIGHUP)
    give_up = time.monotonic() + 30
    while "api_keys_not_changed" not in guarded.log.read_text():
        assert time.monotonic() < give_up
        time.sleep(0.02)
    statuses += [ask("third"), ask("broken")]

    assert statuses == [401, 401, 200, 401]
    assert "nonsense" not in guarded.log.read_text()


def test_metrics_have_a_port_of_their_own_if_asked(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("score scopes=score\nwatch scopes=metrics\n")
    server = launch(REWARDD_API_KEYS_FILE=str(tmp_path / "keys"), REWARDD_METRICS_PORT="0")
    events = [json.loads(line) for line in server.log.read_text().splitlines()]
    (port,) = (event["port"] for event in events if event["event"] == "metrics_listening")

    def ask(port: int, path: str, key: str) -> int:
        address = f"http://127.0.0.1:{port}{path}"
        return httpx.get(address, headers={"X-API-Key": key}).status_code

    assert ask(port, "/metrics", "watch") == 200
    assert ask(port, "/metrics", "score") == 403
    assert ask(port, "/metrics", "other") == 401
    assert ask(port, "/score", "other") == 401
    assert ask(port, "/v1/info", "watch") == 404
    assert ask(server.port, "/metrics", "watch") == 404
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0


def calls_of(
    directory: Path, chance: random.Random, *command: str, **environment: str
) -> list[str]:
    """Whom a server calls from start to end, with a hub's token and no word of being offline.

    Args:
        directory: for its files.
        chance: of what it is asked.
        command: a module and its arguments.
        environment: beside that of the test.
    """
    calls = directory / "calls"
    online = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given = {**online, "HF_TOKEN": "hf_canary", "OMP_NUM_THREADS": "1", **environment}
    audited = ("tests.chaos.audited", str(calls), *command)
    with server_process(directory / "server", *audited, environment=given) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for asked in odd_requests(chance, 150):
                client.request(**asked)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert "canary" not in server.log.read_text()
    return calls.read_text().splitlines()


def test_nobody_is_ever_called(chaos: Chaos, tmp_path: Path) -> None:
    command = ["tests.integration.fake_server"]
    if chaos.full:  # test_serve_command listens to the loading of a checkpoint in the short form
        model = save_checkpoint(tmp_path / "model", "llama", tokenizer=make_tokenizer())
        command = ["rewardd", "serve", "--helpfulness-model", str(model)]

    assert calls_of(tmp_path, chaos.random("calls"), *command) == []


def test_a_call_to_elsewhere_would_be_heard(chaos: Chaos, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        port = str(elsewhere.getsockname()[1])
        command = "tests.integration.fake_server"
        calls = calls_of(tmp_path, chaos.random("calls"), command, LEAK_TO=port)

    assert any(port in call for call in calls)
