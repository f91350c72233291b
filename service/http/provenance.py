"""Whose rewards a reply holds, and that nobody else wrote it.

Both are headers: a dialect's body has no room for them (slime's is a bare number), and small
replies shall stay small.
"""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rm_core.errors import ConfigurationError

PROVENANCE_HEADER = "X-Rewardd-Provenance"
SIGNATURE_HEADER = "X-Rewardd-Signature"
_REQUEST_ID = b"x-request-id"
_PUBLIC = ("/health", "/metrics", "/docs", "/openapi.json")


def read_secret(path: Path) -> bytes:
    """The secret of `hmac_secret_file`, without the line break that editors add.

    Raises:
        ConfigurationError: the file can't be read, or holds fewer than 16 bytes.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as exc:
        raise ConfigurationError(
            f"hmac_secret_file {path} can't be read: {type(exc).__name__}"
        ) from None
    if len(secret) < 16:
        raise ConfigurationError(
            f"hmac_secret_file {path} holds fewer than 16 bytes; write a longer secret, such as "
            "that of `openssl rand -hex 32`"
        )
    return secret


def signature(secret: bytes, *, status: int, request_id: str, provenance: str, body: bytes) -> str:
    """The signature header's value: HMAC-SHA256 over what the reply claims.

    The request's id is part of it, so that an old reply can't be passed off as a new one: a caller
    that wants this sends its own X-Request-ID and checks that it comes back.
    """
    head = f"{status}\n{request_id}\n{provenance}\n".encode()
    return "v1=" + hmac.new(secret, head + body, hashlib.sha256).hexdigest()


def answers_from(request: Request, provenance: str) -> None:
    """Say in the reply's header whose rewards it holds: not always those that serve at its end."""
    request.state.provenance = provenance


class Provenance:
    """Middleware that says in each reply which checkpoints answer, and signs it.

    Where nobody said otherwise (`answers_from`) they are those that serve when it begins.
    A reply that is streamed (NDJSON) is not signed: its headers leave before its body is known.

    Args:
        app: what it surrounds, which names requests by X-Request-ID.
        current: whose rewards replies hold that say nothing of their own.
        secret: signs the replies; None: they are not signed.
    """

    def __init__(
        self, app: ASGIApp, current: Callable[[], str], secret: bytes | None = None
    ) -> None:
        self._app = app
        self._current = current
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_PUBLIC):
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        provenance = ""

        async def stamped(message: Message) -> None:
            nonlocal held, provenance
            if message["type"] == "http.response.start":
                provenance = scope.get("state", {}).get("provenance") or self._current()
                held = self._with_header(message, PROVENANCE_HEADER, provenance)
                if self._secret is not None:
                    return  # until the body is known
                message, held = held, None
            elif held is not None and self._secret is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    start = self._signed(start, message.get("body", b""), provenance, self._secret)
                await send(start)
            await send(message)

        await self._app(scope, receive, stamped)

    def _signed(self, start: Message, body: bytes, provenance: str, secret: bytes) -> Message:
        given = dict(start.get("headers", ()))
        value = signature(
            secret,
            status=start["status"],
            request_id=given.get(_REQUEST_ID, b"").decode("latin-1"),
            provenance=provenance,
            body=body,
        )
        return self._with_header(start, SIGNATURE_HEADER, value)

    @staticmethod
    def _with_header(start: Message, name: str, value: str) -> Message:
        header = (name.lower().encode(), value.encode())
        return {**start, "headers": [*start.get("headers", ()), header]}
