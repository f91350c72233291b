"""API keys on the wire: who calls is known before anything is said of a path, a method or a body.

A key comes as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password of HTTP Basic
(RFC 7617) with any user name: trainers that can be given an address and nothing else are given
`http://any:KEY@host:8000/…`, which their HTTP libraries send as Basic.

Two steps. `RequireKey` surrounds the router and refuses whoever has no key, unless method and path
are, byte by byte, those of an open route: paths that don't exist, wrong methods and wrong bodies
look alike to strangers. `require_scope` is a dependency of every mounted route; it is told the
scope where the route is mounted, so there is no path for it to be fooled by.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from fastapi import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from service.access.keys_file import ApiKey
from service.access.scopes import RouteScope
from service.problems import Problem
from service.state import AppState

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="rewardd", Basic realm="rewardd"'}


class RequireKey:
    """Middleware that refuses callers without an accepted key, if any keys are set.

    Args:
        app: what it surrounds.
        state: of the service.
        open_operations: method and path of what asks for no key.
        members: further members of a refusal's body, by the path that was asked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        state: AppState,
        open_operations: Collection[tuple[str, str]] = (),
        members: Callable[[str, Problem], Mapping[str, Any]] = lambda *_: {},
    ) -> None:
        self._app = app
        self._state = state
        self._open = frozenset(open_operations)
        self._members = members

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Let one request through, or refuse it."""
        if scope["type"] == "http" and self._asks(scope):
            try:
                key = self._key_of(Request(scope))
            except Problem as problem:
                more = self._members(scope["path"], problem)
                await problem.as_response(more)(scope, receive, send)
                return
            scope.setdefault("state", {})["api_key"] = key
        await self._app(scope, receive, send)

    def _asks(self, scope: Connection) -> bool:
        if not self._state.keys.are_required:
            return False
        return (scope["method"], scope["path"]) not in self._open

    def _key_of(self, request: Request) -> ApiKey:
        given = _given(request)
        if given is None:
            self._state.metrics.auth_failures.labels("missing").inc()
            raise Problem(
                401,
                "missing_api_key",
                "Send an API key: Authorization: Bearer KEY, or X-API-Key: KEY, or in the address, "
                "http://any:KEY@host.",
                headers=_CHALLENGE,
            )
        key = self._state.keys.find(given)
        if key is None:
            self._state.metrics.auth_failures.labels("invalid").inc()
            raise Problem(
                401, "invalid_api_key", "This API key is not accepted.", headers=_CHALLENGE
            )
        return key


def require_scope(wanted: RouteScope) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses callers whose key doesn't carry the scope.

    Args:
        wanted: what the routes ask for that depend on it.
    """

    async def check_scope(request: Request) -> None:
        state: AppState = request.app.state.rewardd
        if wanted == "open" or not state.keys.are_required:
            return
        key = api_key_of(request)
        if key is None or wanted not in key.scopes:
            state.metrics.auth_failures.labels("scope").inc()
            raise Problem(
                403,
                "insufficient_scope",
                f"This API key doesn't carry the scope {wanted}; use one that does, or have it "
                "added to the key's line in the server's file of keys.",
                headers={
                    "WWW-Authenticate": 'Bearer realm="rewardd", error="insufficient_scope", '
                    f'scope="{wanted}"'
                },
            )

    return check_scope


def api_key_of(request: Request) -> ApiKey | None:
    """The accepted key that a request came with; None without keys."""
    key: ApiKey | None = getattr(request.state, "api_key", None)
    return key


def named_caller(scope: Connection) -> dict[str, str]:
    """The name of the key that a request came with, under "caller"; nothing where it has none."""
    key: ApiKey | None = scope.get("state", {}).get("api_key")
    return {} if key is None or key.name is None else {"caller": key.name}


def caller_of(request: Request) -> bytes:
    """Whose request it is: the digest of its API key, whichever way it came; b"" without keys."""
    key = api_key_of(request)
    return b"" if key is None else key.digest


def cache_scope_of(request: Request) -> bytes:
    """What of the caches a request may meet, see `rm_core.types.EncodedItem`; b"": all of them."""
    state: AppState = request.app.state.rewardd
    return caller_of(request) if state.caches_per_key else b""


def _given(request: Request) -> bytes | None:
    # Header values are latin-1 to Starlette; back to bytes, as the keys are.
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip().encode("latin-1")
    key = request.headers.get("x-api-key")
    if key:  # before Basic, which may be a proxy's own
        return key.strip().encode("latin-1")
    return _password(token) if scheme.lower() == "basic" else None


def _password(credentials: str) -> bytes | None:
    """The password of Basic credentials; None where they are none."""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded.partition(b":")[2] or None
