"""Whitened rewards, each sample counted once: by its key, or because its reply got lost here.

A key says that a request is another one's retry. Without a key equal bodies are equal samples,
which policies do write; but one that follows an equal request whose reply never left us is taken
for its retry.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from fastapi import Request, Response

from rm_core.rewards.ppo import PpoSample, ShapingOptions
from rm_core.rewards.rule import ScoredResponse
from service.dialects.base import DialectOptions, ParsedBody, Stamp
from service.dialects.reply import reply_of
from service.dialects.settlement import Settlement
from service.errors import IdempotencyConflict
from service.http.auth import caller_of
from service.http.provenance import answers_from
from service.http.receipt import receipted
from service.ppo.stream_update import StreamUpdate, StreamUpdateResult, update_stream
from service.results import ItemResult
from service.state import AppState
from service.streams.idempotency import (
    REPLAYED_HEADER,
    Answer,
    idempotency_key,
    request_digest,
)
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.service import state_problems
from service.streams.transaction import Transaction
from service.streams.unanswered_table import Unanswered
from service.versions.version import ModelVersion

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WhitenedCall:
    """A request for whitened rewards.

    Attributes:
        request: its body read.
        state: the running service.
        body: the request's bytes.
        options: what the address and the settings say; its stamp is of the reply, should it be the
            first.
        fallback: the reward of texts that can't be scored; None: there is none.
        parsed: the body understood, for that reply.
        read: the same for the reply of another stamp.
        score: scores its texts; see `service.dialects.result.require_scored`.
        version: of the models that score them.
    """

    request: Request
    state: AppState
    body: bytes
    options: DialectOptions
    fallback: float | None
    parsed: ParsedBody
    read: Callable[[Stamp], ParsedBody]
    score: Callable[[], Awaitable[list[ItemResult]]]
    version: ModelVersion

    @property
    def route(self) -> str:
        """What was asked beside the body: path and query."""
        url = self.request.url
        return f"{url.path}?{url.query}"


async def answer_whitened(call: WhitenedCall) -> Response:
    """Count a request's texts once and answer, from the ledger if they were counted already.

    Raises:
        Problem: 400 for a wrong key, 422 for one of another body, or what scoring raises.
    """
    key = idempotency_key(call.request, call.route, call.body)
    with state_problems():
        if key is None:
            return await _without_key(call)
        streams = call.state.streams
        try:
            answer = await streams.in_flight.once(key, lambda: _with_key(call, key))
        except IdempotencyConflict:
            streams.metrics.idempotency("conflict")
            raise
        streams.metrics.idempotency(answer.outcome)
        return _reply(call, answer)


async def _with_key(call: WhitenedCall, key: IdempotencyKey) -> Answer:
    known = await call.state.streams.store.replay(key)
    if known is not None:
        return Answer(known, "replayed")
    answer, _ = await _settle(call, key=key)
    return answer


async def _without_key(call: WhitenedCall) -> Response:
    streams = call.state.streams
    # Settings may be others after a restart, and then it is another question.
    set_to = f"{call.options.stream} {call.options.stops}"
    digest = request_digest(f"{set_to}\n{call.route}", call.body, caller=caller_of(call.request))
    unanswered = await streams.store.claim(digest)
    if unanswered is not None:
        answer = Answer(StoredReply(200, unanswered.settlement), "resent")
    else:
        answer, unanswered = await _settle(call, digest=digest)
    if answer.outcome == "resent":
        streams.metrics.idempotency("resent")
    return await receipted(lambda: _reply(call, answer), streams.store, unanswered)


async def _settle(
    call: WhitenedCall, *, key: IdempotencyKey | None = None, digest: bytes | None = None
) -> tuple[Answer, Unanswered | None]:
    """Score, count, and keep what the reply is made of, all of it or nothing.

    Returns:
        The settlement, and by what a keyless one is known that counted something.
    """
    parsed = call.parsed
    results = await call.score()
    streams = call.state.streams
    samples = [
        PpoSample(index, one, None, None, None, index)
        for index, one in enumerate(results)
        if isinstance(one, ScoredResponse)
    ]
    counted: StreamUpdateResult | None = None

    def work(transaction: Transaction) -> StoredReply:
        nonlocal counted
        whitened: Sequence[float] = []
        if samples:
            update = StreamUpdate(call.options.stream, call.version.initial)
            counted = update_stream(transaction, update, ShapingOptions(beta=0.0), samples)
            whitened = [sample.whitened for sample in counted.shaping.outcomes]
        settlement = Settlement.of(
            call.options.stamp, results, whitened, call.fallback, call.version
        )
        # What can't be written must not have counted.
        reply_of(parsed, settlement.text_rewards())
        return StoredReply(200, settlement.to_bytes())

    applied = await streams.store.apply(work, key=key, unanswered=digest)
    if applied.replayed:
        return Answer(applied.reply, "replayed" if key else "resent"), applied.unanswered
    streams.metrics.committed(applied)
    if counted is not None and counted.added is not None:
        streams.metrics.updates("applied", counted.added.num_samples)
    else:
        streams.metrics.updates("frozen", len(samples))
    return Answer(applied.reply), applied.unanswered


def _reply(call: WhitenedCall, answer: Answer) -> Response:
    settlement = Settlement.from_bytes(answer.reply.body)
    same = settlement.stamp == call.options.stamp
    parsed = call.parsed if same else call.read(settlement.stamp)
    answers_from(call.request, settlement.provenance)
    reply = reply_of(parsed, settlement.text_rewards())
    if answer.outcome != "new":
        reply.headers[REPLAYED_HEADER] = "true"
    return reply
