"""API keys: every route asks for one, if any are set, except those that say otherwise.

A key comes as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password of HTTP Basic
(RFC 7617) with any user name: trainers that can be given an address and nothing else are given
`http://any:KEY@host:8000/…`, which their HTTP libraries send as Basic.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

from fastapi import Request

from service.observability.metrics import Metrics
from service.problems import Problem

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="rewardd", Basic realm="rewardd"'}


class ApiKeys:
    """The accepted keys, kept as digests.

    Args:
        keys: any number; none means that nobody needs one.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._digests = tuple(hashlib.sha256(key).digest() for key in keys)

    @property
    def are_required(self) -> bool:
        """Whether callers need a key."""
        return bool(self._digests)

    @property
    def are_several(self) -> bool:
        """Whether there are callers to be kept apart."""
        return len(set(self._digests)) > 1

    def accept(self, given: bytes) -> bytes | None:
        """The digest of `given` if it is one of the keys, else None.

        Takes the same time whichever it is or nearly is.
        """
        digest = hashlib.sha256(given).digest()
        accepted = False
        for known in self._digests:  # no early exit
            accepted |= hmac.compare_digest(digest, known)
        return digest if accepted else None


def api_key_dependency(
    keys: ApiKeys, metrics: Metrics, *, keep_apart: bool
) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses callers without a key; a dependency sees no paths to be fooled by.

    Args:
        keys: the accepted keys.
        metrics: counts refusals.
        keep_apart: whether callers of different keys have different `cache_scope_of`.
    """

    async def require_api_key(request: Request) -> None:
        if not keys.are_required:
            return
        given = _given(request)
        if given is None:
            metrics.auth_failures.labels("missing").inc()
            raise Problem(
                401,
                "missing_api_key",
                "Send an API key: Authorization: Bearer KEY, or X-API-Key: KEY, or in the address, "
                "http://any:KEY@host.",
                headers=_CHALLENGE,
            )
        digest = keys.accept(given)
        if digest is None:
            metrics.auth_failures.labels("invalid").inc()
            raise Problem(
                401, "invalid_api_key", "This API key is not accepted.", headers=_CHALLENGE
            )
        request.state.caller = digest
        if keep_apart:
            request.state.cache_scope = digest

    return require_api_key


def cache_scope_of(request: Request) -> bytes:
    """What of the caches a request may meet, see `rm_core.types.EncodedItem`; b"": all of them."""
    scope: bytes = getattr(request.state, "cache_scope", b"")
    return scope


def caller_of(request: Request) -> bytes:
    """Whose request it is: the digest of its API key, whichever way it came; b"" without keys."""
    caller: bytes = getattr(request.state, "caller", b"")
    return caller


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
