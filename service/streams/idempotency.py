"""Requests that come twice: the key's header, and twins that meet while the first is at work.

The ledger (in `service.streams.ledger_table`) is what makes a key count once; joining a twin here
only saves scoring its texts again.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from service.errors import IdempotencyConflict
from service.problems import Problem
from service.streams.ledger_table import MAX_KEY_CHARACTERS, IdempotencyKey, StoredReply

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"

IdempotencyOutcome = Literal["new", "replayed", "joined", "resent"]
"""The last: a request without a key, taken for the retry of one whose reply was lost here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and how it came about."""

    reply: StoredReply
    outcome: IdempotencyOutcome = "new"


def idempotency_key(request: Request, route: str, body: bytes) -> IdempotencyKey | None:
    """The request's key with the digest of what it asks; None if it brings none.

    Raises:
        Problem: as of `given_key`.
    """
    key = given_key(request)
    return None if key is None else IdempotencyKey(key, request_digest(route, body))


def given_key(request: Request) -> str | None:
    """The request's Idempotency-Key as it stands there; None if it brings none.

    Raises:
        Problem: 400, the key is empty, too long or not printable ASCII, or there are several.
    """
    given = request.headers.getlist(KEY_HEADER)
    if not given:
        return None
    key = given[0]
    valid = 1 <= len(key) <= MAX_KEY_CHARACTERS and key.isascii() and key.isprintable()
    if len(given) > 1 or not valid:
        raise Problem(
            400,
            "invalid_idempotency_key",
            f"{KEY_HEADER} must be one value of 1 to {MAX_KEY_CHARACTERS} printable ASCII "
            "characters, such as a UUID.",
        )
    return key


def request_digest(route: str, body: bytes, *, caller: bytes = b"") -> bytes:
    """What tells a request from others: 32 bytes of its route and its body.

    Args:
        route: what was asked beside the body.
        body: its bytes.
        caller: digest of whose request it is, where nobody's else may be its retry.
    """
    digest = hashlib.sha256(caller)
    digest.update(route.encode("utf-8", "surrogatepass") + b"\n" + body)
    return digest.digest()


class InFlight:
    """Keyed requests at work in this process; of twins one works and the others take its reply.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._running: dict[str, tuple[bytes, asyncio.Future[StoredReply]]] = {}

    async def once(
        self, key: IdempotencyKey | None, work: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Do the work, or wait for the twin that is doing it.

        If that twin fails or is cancelled, one of those that wait takes over; its failure is its
        caller's alone.

        Raises:
            IdempotencyConflict: a request with this key and another body is at work.
        """
        if key is None:
            return await work()
        while (twin := self._running.get(key.key)) is not None:
            digest, future = twin
            if digest != key.digest:
                raise IdempotencyConflict(
                    "a request with this Idempotency-Key and another body is at work; "
                    "use a new key for a new request"
                )
            await asyncio.wait({future})
            if not future.cancelled():
                return Answer(future.result(), "joined")
        future = asyncio.get_running_loop().create_future()
        self._running[key.key] = (key.digest, future)
        try:
            answer = await work()
            future.set_result(answer.reply)
            return answer
        finally:
            del self._running[key.key]
            future.cancel()  # no effect once it has its result
