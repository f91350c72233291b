import hashlib
import hmac
from pathlib import Path

import httpx
import pytest

from rm_core.errors import ConfigurationError
from service.app import create_app
from service.http.provenance import signature
from service.settings import Settings
from tests.service.scripted import ScriptedScorer, serving

SECRET = b"a secret of some length"
ITEM = {"prompt": "p", "response": "s=5 h=1"}


def expected(secret: bytes, reply: httpx.Response) -> str:
    """As docs/guides/dialects.md tells a caller to check it."""
    head = "\n".join(
        [
            str(reply.status_code),
            reply.headers["X-Request-ID"],
            reply.headers["X-Rewardd-Provenance"],
            "",
        ]
    )
    return "v1=" + hmac.new(secret, head.encode() + reply.content, hashlib.sha256).hexdigest()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    return file


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", ITEM),
        ("/compare", {"prompt": "p", "responses": ["a", "b"]}),
        ("/ppo_reward", {"items": [ITEM]}),
        ("/rm", ITEM),
        ("/score", {"items": []}),
        ("/nowhere", {}),
    ],
)
async def test_every_reply_says_which_weights_answer(tmp_path, path, body):
    async with serving(tmp_path) as client:
        reply = await client.post(path, json=body)
        info = (await client.get("/v1/info")).json()

    said = dict(part.split("=", 1) for part in reply.headers["X-Rewardd-Provenance"].split(", "))
    for role in ("safety", "helpfulness"):
        assert info["models"][role]["digest"].startswith(said[role].strip('"'))
        assert len(said[role]) == 18
    assert "X-Rewardd-Signature" not in reply.headers


@pytest.mark.parametrize(("path", "body"), [("/score", ITEM), ("/rm", ITEM), ("/score", {})])
async def test_a_signed_reply_can_be_checked_and_not_be_forged(tmp_path, secret_file, path, body):
    async with serving(tmp_path, hmac_secret_file=secret_file) as client:
        reply = await client.post(path, json=body, headers={"X-Request-ID": "mine-1"})

    signed = reply.headers["X-Rewardd-Signature"]
    assert reply.headers["X-Request-ID"] == "mine-1"
    assert signed == expected(SECRET, reply)
    assert signed != expected(SECRET + b"x", reply)
    parts = {
        "status": reply.status_code,
        "request_id": "mine-1",
        "provenance": reply.headers["X-Rewardd-Provenance"],
        "body": reply.content,
    }
    assert signed == signature(SECRET, **parts)
    for name, other in [("status", 201), ("request_id", "x"), ("provenance", ""), ("body", b"9")]:
        assert signed != signature(SECRET, **{**parts, name: other})


async def test_a_streamed_reply_is_whole_and_not_signed(tmp_path, secret_file):
    lines = b'{"prompt": "p", "response": "s=5 h=1"}\n' * 3

    async with serving(tmp_path, hmac_secret_file=secret_file) as client:
        reply = await client.post(
            "/score", content=lines, headers={"Content-Type": "application/x-ndjson"}
        )

    assert len(reply.content.splitlines()) == 3
    assert "X-Rewardd-Provenance" in reply.headers
    assert "X-Rewardd-Signature" not in reply.headers


@pytest.mark.parametrize("content", [None, b"", b"short\n"])
def test_a_secret_that_is_none_is_refused_at_the_start(tmp_path, content):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError, match="hmac_secret_file"):
        create_app(Settings(state_dir=tmp_path, hmac_secret_file=file), ScriptedScorer())
