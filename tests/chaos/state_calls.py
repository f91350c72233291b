"""How the attacks on the state ask a server, and for what it is to answer."""

from typing import Any

import httpx

from tests.chaos.attacked import AttackedServer

SCORE = {"prompt": "p", "response": "r"}
COMPARE = {"prompt": "p", "responses": ["a", "b"]}


def ask(server: AttackedServer, path: str, body: Any = None, key: str = "") -> httpx.Response:
    """One request on a connection of its own: GET, or POST with a body."""
    headers = {"Idempotency-Key": key} if key else {}
    if body is None:
        return httpx.get(server.url + path, timeout=30)
    return httpx.post(server.url + path, json=body, headers=headers, timeout=30)


def reward(server: AttackedServer, number: int, *, size: int = 1) -> httpx.Response:
    """Samples with ids, counted under the number's key."""
    items = [
        {"prompt": "p", "response": f"r{number}", "id": f"{number}/{place}"}
        for place in range(size)
    ]
    return ask(server, "/ppo_reward", {"items": items}, key=f"key-{number}")


def counted(server: AttackedServer) -> int:
    """Samples of the default stream."""
    return int(ask(server, "/streams/default").json()["num_samples"])


def require_stateless(server: AttackedServer) -> None:
    """What needs no statistics is served, and said to be."""
    assert ask(server, "/score", SCORE).status_code == 200
    assert ask(server, "/compare", COMPARE).status_code == 200
    assert ask(server, "/health/ready").status_code == 200


def require_refused(server: AttackedServer, kind: str) -> None:
    """The stateful routes say why they can't, by reply, readiness, metric and log."""
    refused = reward(server, 10**6)
    assert (refused.status_code, refused.json()["code"]) == (503, "state_unavailable")
    health = ask(server, "/health/state")
    assert (health.status_code, health.json().get("code")) == (503, f"state_{kind}")
    assert f'rm_state_fault{{kind="{kind}"}} 1.0' in ask(server, "/metrics").text
    assert "state_fault" in server.log.read_text("utf-8")
