"""What an adapter says about a server: how to ask it, how to read its answer, how to start it."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.errors import MalformedReply
from loadtest.workloads import Request

Rewards = dict[str, list[float]]
"""Raw rewards by role ("safety", "helpfulness"), each in the order of the request's texts."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An adapter: one server's contract, and the command that starts it.

    Attributes:
        name: on the command line and in tables.
        path: of the POST.
        body: a request, and the name of the model where the contract wants one, as JSON values.
        read: the reply's JSON and the request, as rewards: of every role the server holds, or under
            "" where the server has one model and doesn't know its role.
        health: path that answers 200 once the server can work; "" if a scoring call must tell.
        command: how to start it, with {python} {environment} (the directory that {python}'s bin
            stands in) {port} {model} {threads} {cores} (their numbers, with commas) {scratch}; it
            may begin with NAME=VALUE. None: by URL only. A server that holds both models gets
            --safety-model and --helpfulness-model.
        holds_both: whether one server answers with both models' rewards.
        counters: of its /metrics, by our names of them (`loadtest.work.Work`): the samples that are
            summed.
        needs: what to install where {python} lives.
        note: what a reader of its figures should know.
    """

    name: str
    path: str
    body: Callable[[Request, str], Any]
    read: Callable[[Any, Request], Rewards]
    health: str = "/health"
    command: tuple[str, ...] | None = None
    holds_both: bool = False
    counters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: str = ""
    note: str = ""

    def encoded(self, request: Request, model: str) -> bytes:
        """What is sent."""
        body = self.body(request, model)
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def rewards(self, body: bytes, request: Request) -> Rewards:
        """Read a reply.

        Raises:
            MalformedReply: not JSON, not of the promised form, too few rewards, or not finite.
        """
        try:
            found = self.read(json.loads(body), request)
        except (ValueError, KeyError, IndexError, TypeError) as exc:
            raise MalformedReply(f"{self.name}: {type(exc).__name__} in a reply") from exc
        for values in found.values():
            if len(values) != len(request.texts):
                raise MalformedReply(
                    f"{self.name}: {len(values)} rewards for {len(request.texts)} texts"
                )
            if not all(map(math.isfinite, values)):
                raise MalformedReply(f"{self.name}: a reward is not a finite number")
        return found
