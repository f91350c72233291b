"""A /ppo_reward request from its body to the bytes of its reply.

What costs time runs off the event loop: parsing in a worker thread, scoring in the scheduler, the
arithmetic and the reply's JSON on the store's thread, inside the transaction that counts them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from rm_core.errors import InputError
from rm_core.rewards import Statistics, from_baseline
from service.http.body import (
    item_pointer,
    parse_json,
    require_at_most,
    require_one_success,
    validate,
    validate_items,
)
from service.ppo.preconditions import require_models, require_stream
from service.ppo.shaping import (
    GroupSummary,
    Intake,
    Outcome,
    Sample,
    Shaping,
    has_finite_logit,
    id_text,
    intake,
    sequence_kl,
    shape_samples,
)
from service.results import ItemFailure, Judged
from service.schemas.ppo import PpoEnvelope, PpoItem, ppo_item_model
from service.scoring.judging import judge_items
from service.state_errors import UnknownStream
from service.streams.idempotency import Answer
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.store import Transaction
from service.streams.stream_table import Stream

if TYPE_CHECKING:
    from rm_core.rewards import TokenKL
    from service.state import AppState
    from service.streams.service import StreamService

PPO_ROUTE = "/ppo_reward"

# Below this the hop to another thread costs more than the parsing.
_PARSE_ON_LOOP_BYTES = 16 * 1024
_STREAM_MODES = frozenset({"running", "frozen"})


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request's options, and its items or what is wrong with each."""

    options: PpoEnvelope
    items: "list[tuple[PpoItem, TokenKL | None] | ItemFailure]"


@dataclass(slots=True)
class Settlement:
    """What a transaction did for a request; filled on the store's thread.

    Attributes:
        stream: as the request left it; None in modes without one.
        intake: what was merged; None where nothing was to be.
        shaping: the outcomes.
    """

    stream: Stream | None = None
    intake: Intake | None = None
    shaping: Shaping = field(default_factory=lambda: Shaping((), Statistics(), scaled=False))


async def answer_ppo(
    state: "AppState", body: bytes, key: IdempotencyKey | None, *, deadline: float | None
) -> Answer:
    """Answer one request: from the ledger if it is known, else by scoring and counting it.

    Args:
        state: the running service.
        body: the request's bytes.
        key: its idempotency key, if it brought one.
        deadline: when the answer is useless, on the clock of `state.clock`.

    Raises:
        Problem: the request as a whole can't be answered.
        UnknownStream, IdempotencyConflict, TooManyStreams, StateUnavailable: see
            `service.streams.store`.
    """
    streams: StreamService = state.streams
    if key is not None and (known := await streams.store.replay(key)) is not None:
        return Answer(known, "replayed")
    max_items = state.settings.max_items
    if len(body) <= _PARSE_ON_LOOP_BYTES:
        parsed = parse_request(body, max_items=max_items)
    else:
        parsed = await asyncio.to_thread(parse_request, body, max_items=max_items)
    require_models(parsed.options.expect_version, state.scorer.profiles)
    places = await _judged(state, parsed, deadline=deadline)
    failures = [place for place in places if isinstance(place, ItemFailure)]
    nonfinite = sum(failure.code == "nonfinite_reward" for failure in failures)
    streams.metrics.updates("nonfinite", nonfinite)
    require_one_success(failures, len(places))
    settlement = Settlement()

    def work(transaction: Transaction) -> StoredReply:
        samples = [place for place in places if isinstance(place, Sample)]
        settle(transaction, parsed.options, samples, streams.initial, settlement)
        return StoredReply(200, render(parsed.options, places, settlement))

    applied = await streams.store.apply(work, key=key)
    if applied.replayed:  # a twin in another process, or one that we did not meet, was first
        return Answer(applied.reply, "replayed")
    streams.metrics.committed(applied)
    _observe(state, parsed.options, settlement)
    return Answer(applied.reply)


def parse_request(body: bytes, *, max_items: int) -> ParsedRequest:
    """The options and items of a body.

    Each item's log-probabilities are checked and used here, before anything is scored.

    Raises:
        Problem: 400 for no JSON, 413 for too many items, 422 for wrong options.
    """
    options = validate(PpoEnvelope, parse_json(body))
    require_at_most(len(options.items), max_items)
    items: list[tuple[PpoItem, TokenKL | None] | ItemFailure] = []
    for index, item in enumerate(validate_items(options.items, ppo_item_model)):
        if isinstance(item, ItemFailure):
            items.append(item)
            continue
        try:
            items.append((item, sequence_kl(item, options.kl_estimator)))
        except InputError as exc:
            items.append(_failure(exc, index))
    return ParsedRequest(options, items)


async def _judged(
    state: "AppState", parsed: ParsedRequest, *, deadline: float | None
) -> list[Sample | ItemFailure]:
    """Score the items that are sound; the others keep their failures and their places."""
    judged = await judge_items(
        state,
        [place if isinstance(place, ItemFailure) else place[0] for place in parsed.items],
        [item_pointer(index, alone=False) for index in range(len(parsed.items))],
        route=PPO_ROUTE,
        truncate=parsed.options.truncate,
        priority="bulk",
        deadline=deadline,
    )
    return [
        _place(index, place, only)
        for index, (place, (only,)) in enumerate(zip(parsed.items, judged, strict=True))
    ]


def _place(
    index: int, place: "tuple[PpoItem, TokenKL | None] | ItemFailure", judged: Judged
) -> Sample | ItemFailure:
    if isinstance(place, ItemFailure):
        return place
    if isinstance(judged, ItemFailure):
        return judged
    if not has_finite_logit(judged):
        return ItemFailure(
            code="nonfinite_reward",
            detail="The calibrated reward is not finite; it was left out of the statistics.",
            pointer=item_pointer(index, alone=False),
        )
    item, kl = place
    (dialogue,) = item.dialogues()
    group = ("prompt", dialogue.prompt) if item.group is None else item.group
    return Sample(index, judged, kl, item.finished, item.id, group)


def settle(
    transaction: Transaction,
    options: PpoEnvelope,
    samples: Sequence[Sample],
    initial: Statistics,
    settlement: Settlement,
) -> None:
    """Merge the samples into their stream as the options say, and shape them by it.

    Raises:
        UnknownStream: frozen mode names a stream that does not exist.
        Problem: 412, the stream is not at the version that the caller expects.
    """
    statistics = Statistics()
    if options.whiten.mode not in _STREAM_MODES:
        require_stream(options.expect_version, None)
    else:
        settlement.stream, settlement.intake = _merge(transaction, options, samples, initial)
        statistics = settlement.stream.statistics
    settlement.shaping = shape_samples(samples, options, statistics)


def _merge(
    transaction: Transaction,
    options: PpoEnvelope,
    samples: Sequence[Sample],
    initial: Statistics,
) -> tuple[Stream, Intake | None]:
    found = transaction.stream(options.stream)
    if options.whiten.mode == "frozen":
        if found is None:
            raise UnknownStream
        require_stream(options.expect_version, found)
        return found, None
    stream = found if found is not None else _fresh(options, initial)
    require_stream(options.expect_version, stream)
    if stream.frozen or not options.whiten.update:
        return stream, None
    ids = [id_text(sample.id) for sample in samples if sample.id is not None]
    added = intake(samples, transaction.counted(stream, ids))
    if added.num_samples == 0:
        return stream, added
    merged = stream.merged(added.statistics, num_samples=added.num_samples, now=transaction.now)
    return transaction.save(merged, added.new_ids), added


def _fresh(options: PpoEnvelope, initial: Statistics) -> Stream:
    baseline = options.whiten.baseline
    if baseline is None:
        start = Statistics()
    elif baseline == "checkpoint":
        start = initial
    else:
        start = from_baseline(baseline.mean, baseline.std, baseline.weight)
    return Stream(options.stream, start, half_life=options.whiten.half_life)


def render(
    options: PpoEnvelope, places: Sequence[Sample | ItemFailure], settlement: Settlement
) -> bytes:
    """The reply's bytes, strict JSON."""
    outcomes = {outcome.sample.index: outcome for outcome in settlement.shaping.outcomes}
    duplicates = settlement.intake.duplicates if settlement.intake else frozenset()
    items = [
        place.as_json()
        if isinstance(place, ItemFailure)
        else _item(outcomes[place.index], counted=place.index in duplicates)
        for place in places
    ]
    reply = {"items": items, "statistics": _statistics(options, settlement)}
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def _item(outcome: Outcome, *, counted: bool) -> dict[str, Any]:
    sample, shaped = outcome.sample, outcome.shaped
    reply: dict[str, Any] = {} if sample.id is None else {"id": sample.id}
    reply |= sample.judgement.as_json()
    reply["logit"] = reply.pop("selected_reward")
    num_tokens, warnings = reply.pop("num_tokens"), reply.pop("warnings")
    return reply | {
        "whitened": outcome.whitened,
        "kl": shaped.kl,
        "penalty": shaped.penalty,
        "missing_eos_penalty": shaped.missing_eos_penalty,
        "reward": shaped.reward,
        "token_rewards": shaped.token_rewards,
        "num_tokens": num_tokens,
        "warnings": [*warnings, *outcome.warnings, *(("already_counted",) if counted else ())],
    }


def _statistics(options: PpoEnvelope, settlement: Settlement) -> dict[str, Any]:
    stream, shaping, added = settlement.stream, settlement.shaping, settlement.intake
    used = shaping.statistics
    reply: dict[str, Any] = {
        "mode": options.whiten.mode,
        "stream": None if stream is None else stream.name,
        "count": used.count,
        "mean": used.mean if used.count else None,
        "std": used.std,
        "version": None if stream is None else stream.version,
        "generation": None if stream is None else stream.generation,
        "scaled": shaping.scaled,
        "num_merged": 0 if added is None else added.num_samples,
        "num_duplicates": 0 if added is None else len(added.duplicates),
    }
    if options.whiten.mode == "group":
        reply["groups"] = [_group(group) for group in shaping.groups]
    return reply


def _group(group: GroupSummary) -> dict[str, Any]:
    count, mean, _ = group.statistics
    return {
        "group": group.group if isinstance(group.group, str | int) else None,
        "items": list(group.indices),
        "count": int(count),
        "mean": mean,
        "std": group.statistics.std,
    }


def _failure(error: InputError, index: int) -> ItemFailure:
    pointer = item_pointer(index, alone=False)
    return ItemFailure(
        code=error.code,
        detail=str(error),
        pointer=pointer if error.field is None else f"{pointer}/{error.field}",
    )


def _observe(state: "AppState", options: PpoEnvelope, settlement: Settlement) -> None:
    shaping, added, stream = settlement.shaping, settlement.intake, settlement.stream
    metrics = state.streams.metrics
    if added is not None:
        metrics.updates("applied", added.num_samples)
        metrics.updates("duplicate", len(added.duplicates))
    else:
        frozen = options.whiten.mode == "frozen" or (stream is not None and stream.frozen)
        metrics.updates("frozen" if frozen else "not_requested", len(shaping.outcomes))
    metrics.beta(options.beta)
    for outcome in shaping.outcomes:
        metrics.shaped(outcome)
    for group in shaping.groups:
        state.metrics.group_size.observe(len(group.indices))
        if (std := group.statistics.std) is not None:
            state.metrics.groups.inc()
            state.metrics.group_std.observe(std)
            state.metrics.groups_zero_std.inc(float(std == 0.0))
