"""Whose rewards a reply holds, and that nobody else wrote it.

Both are headers: a dialect's body has no room for them (slime's is a bare number), and small
replies shall stay small.
"""

import hashlib
import hmac
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rm_core.types import ModelName, ModelProfile

PROVENANCE_HEADER = "X-Rewardd-Provenance"
SIGNATURE_HEADER = "X-Rewardd-Signature"
DIGEST_CHARACTERS = 16
"""Of a sha256, in hex: 64 bits tell checkpoints apart; /v1/info has all of it."""

_REQUEST_ID = b"x-request-id"
_PUBLIC = ("/health", "/metrics", "/docs", "/openapi.json")


def provenance_of(profiles: Mapping[ModelName, ModelProfile]) -> str:
    """The header's value: an RFC 9651 dictionary, weights by model, the template a parameter."""
    return ", ".join(
        f'{name}="{profile.digest[:DIGEST_CHARACTERS]}"'
        + (
            f';template="{profile.template_hash[:DIGEST_CHARACTERS]}"'
            if profile.template_hash is not None
            else ""
        )
        for name, profile in profiles.items()
    )


def signature(secret: bytes, *, status: int, request_id: str, provenance: str, body: bytes) -> str:
    """The signature header's value: HMAC-SHA256 over what the reply claims.

    The request's id is part of it, so that an old reply can't be passed off as a new one: a caller
    that wants this sends its own X-Request-ID and checks that it comes back.
    """
    head = f"{status}\n{request_id}\n{provenance}\n".encode()
    return "v1=" + hmac.new(secret, head + body, hashlib.sha256).hexdigest()


class Provenance:
    """Middleware that says in each reply which checkpoints answer, and signs it.

    A reply that is streamed (NDJSON) is not signed: its headers leave before its body is known.

    Args:
        app: what it surrounds, which names requests by X-Request-ID.
        profiles: the loaded models.
        secret: signs the replies; None: they are not signed.
    """

    def __init__(
        self, app: ASGIApp, profiles: Mapping[ModelName, ModelProfile], secret: bytes | None = None
    ) -> None:
        self._app = app
        self._provenance = provenance_of(profiles)
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(_PUBLIC):
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def stamped(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                held = self._with_header(message, PROVENANCE_HEADER, self._provenance)
                if self._secret is not None:
                    return  # until the body is known
                message, held = held, None
            elif held is not None and self._secret is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    start = self._signed(start, message.get("body", b""), self._secret)
                await send(start)
            await send(message)

        await self._app(scope, receive, stamped)

    def _signed(self, start: Message, body: bytes, secret: bytes) -> Message:
        given = dict(start.get("headers", ()))
        value = signature(
            secret,
            status=start["status"],
            request_id=given.get(_REQUEST_ID, b"").decode("latin-1"),
            provenance=self._provenance,
            body=body,
        )
        return self._with_header(start, SIGNATURE_HEADER, value)

    @staticmethod
    def _with_header(start: Message, name: str, value: str) -> Message:
        header = (name.lower().encode(), value.encode())
        return {**start, "headers": [*start.get("headers", ()), header]}
