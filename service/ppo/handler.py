"""A /ppo_reward request from its body to the bytes of its reply.

What costs time runs off the event loop: parsing in a worker thread, scoring in the scheduler, the
arithmetic and the reply's JSON on the store's thread, inside the transaction that counts them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rm_client.models_ppo import PpoItem, ppo_item_model
from rm_core.errors import InputError
from rm_core.rewards import Statistics, TokenKL, from_baseline
from rm_core.rewards.ppo import PpoSample, has_finite_logit, sequence_kl
from service.batching.queue import Submission
from service.http.body import (
    item_pointer,
    parse_json,
    require_at_most,
    require_one_success,
    validate,
    validate_items,
)
from service.ppo.estimator_warning import estimator_warnings
from service.ppo.item_identity import digest_of_text, without_conflicts
from service.ppo.preconditions import require_models, require_selection
from service.ppo.reply import render
from service.ppo.stream_update import StreamUpdate, StreamUpdateResult, update_stream
from service.problems import detail_of
from service.results import ItemFailure, ItemResult
from service.schemas.ppo import PpoEnvelope, kl_input
from service.schemas.score import ScorableWireItem
from service.scoring.score_items import score_items
from service.state import AppState
from service.streams.idempotency import Answer, request_digest
from service.streams.ledger_table import IdempotencyKey, StoredReply
from service.streams.transaction import Transaction
from service.streams.unanswered_table import Unanswered
from service.versions.version import ModelVersion

PPO_ROUTE = "/ppo_reward"

STATISTICS_OF_REPLACED_MODELS = "statistics_of_replaced_models"
"""The warning of a stream that counted rewards of models which no longer serve."""

# Below this the hop to another thread costs more than the parsing.
_PARSE_ON_LOOP_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request's options, and its items or what is wrong with each."""

    options: PpoEnvelope
    items: list[tuple[PpoItem, TokenKL | None] | ItemFailure]


async def answer_ppo(
    state: AppState,
    body: bytes,
    key: IdempotencyKey | None,
    *,
    version: ModelVersion,
    deadline: float | None,
    cache_scope: bytes = b"",
    caller: bytes = b"",
) -> tuple[Answer, Unanswered | None]:
    """Answer one request: from what is kept if it was counted already, else by counting it.

    Args:
        state: the running service.
        body: the request's bytes.
        key: its idempotency key, if it brought one.
        version: of the models that score it.
        deadline: when the answer is useless, on the clock of `state.clock`.
        cache_scope: what of the caches its texts may meet.
        caller: whose texts they are; see `Submission`.

    Returns:
        The answer, and what a request without a key counted: the caller has it settled.

    Raises:
        Problem: the request as a whole can't be answered.
        UnknownStream, IdempotencyConflict, TooManyStreams, StateUnavailable: see
            `service.streams.store`.
    """
    store = state.streams.store
    digest: bytes | None = None
    if key is None:
        digest = request_digest(PPO_ROUTE, body, caller=caller)
        if (lost := await store.claim(digest)) is not None:
            return Answer(StoredReply(200, lost.settlement), "resent"), lost
    elif (known := await store.replay(key)) is not None:
        return Answer(known, "replayed"), None
    max_items = state.settings.max_items
    if len(body) <= _PARSE_ON_LOOP_BYTES:
        parsed = parse_request(body, max_items=max_items)
    else:
        parsed = await asyncio.to_thread(parse_request, body, max_items=max_items)
    require_selection(version.profiles)
    require_models(parsed.options.expect_version, version.profiles)
    submission = Submission(
        PPO_ROUTE,
        "bulk",
        parsed.options.truncate,
        deadline,
        cache_scope=cache_scope,
        caller=caller,
    )
    places = await _scored(state, parsed, submission, version)
    return await _counted(state, version, parsed.options, places, key, digest)


async def _counted(
    state: AppState,
    version: ModelVersion,
    options: PpoEnvelope,
    places: Sequence[PpoSample | ItemFailure],
    key: IdempotencyKey | None,
    digest: bytes | None,
) -> tuple[Answer, Unanswered | None]:
    """Shape what was scored, and count it in the same transaction."""
    streams = state.streams
    failures = [place for place in places if isinstance(place, ItemFailure)]
    nonfinite = sum(failure.code == "nonfinite_reward" for failure in failures)
    streams.metrics.updates("nonfinite", nonfinite)
    require_one_success(failures, len(places))
    update = _stream_update(options, version.initial)
    result: StreamUpdateResult | None = None

    def work(transaction: Transaction) -> StoredReply:
        nonlocal result
        samples = [place for place in places if isinstance(place, PpoSample)]
        result = update_stream(transaction, update, options.shaping, samples)
        warnings = estimator_warnings(options, result.shaping, streams.told_of_estimator)
        stream = result.stream
        if stream is not None and state.swapper.is_outdated(stream.name, stream.generation):
            warnings = (*warnings, STATISTICS_OF_REPLACED_MODELS)
        answered = without_conflicts(places, result.added)
        return StoredReply(200, render(options, answered, result, warnings, version.provenance))

    applied = await streams.store.apply(work, key=key, unanswered=digest)
    if applied.replayed or result is None:
        # A twin in another process, or one that we did not meet, was first.
        return Answer(applied.reply, "resent" if key is None else "replayed"), applied.unanswered
    streams.metrics.committed(applied)
    _observe(state, options, result)
    return Answer(applied.reply), applied.unanswered


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
            given = kl_input(item)
            kl = (
                None
                if given is None
                else sequence_kl(given, options.kl_estimator, clip=options.kl_clip)
            )
            items.append((item, kl))
        except InputError as exc:
            items.append(_failure(exc, index))
    return ParsedRequest(options, items)


async def _scored(
    state: AppState, parsed: ParsedRequest, submission: Submission, version: ModelVersion
) -> list[PpoSample | ItemFailure]:
    """Score the items that are sound; the others keep their failures and their places."""
    results = await score_items(
        state,
        [
            place
            if isinstance(place, ItemFailure)
            else ScorableWireItem.of(place[0], parsed.options)
            for place in parsed.items
        ],
        [item_pointer(index, alone=False) for index in range(len(parsed.items))],
        submission,
        version,
    )
    return [
        _place(index, place, only)
        for index, (place, (only,)) in enumerate(zip(parsed.items, results, strict=True))
    ]


def _place(
    index: int, place: tuple[PpoItem, TokenKL | None] | ItemFailure, result: ItemResult
) -> PpoSample | ItemFailure:
    if isinstance(place, ItemFailure):
        return place
    if isinstance(result, ItemFailure):
        return result
    if not has_finite_logit(result):
        return ItemFailure(
            code="nonfinite_reward",
            detail="The calibrated reward is not finite; it was left out of the statistics.",
            pointer=item_pointer(index, alone=False),
        )
    item, kl = place
    (dialogue,) = ScorableWireItem(item).dialogues()
    group = ("prompt", dialogue.prompt) if item.group is None else item.group
    text = None if item.id is None else digest_of_text(item)
    return PpoSample(index, result, kl, item.finished, item.id, group, text)


def _stream_update(options: PpoEnvelope, initial: Statistics) -> StreamUpdate:
    whiten, baseline = options.whiten, options.whiten.baseline
    if baseline is None:
        start = Statistics()
    elif baseline == "checkpoint":
        start = initial
    else:
        start = from_baseline(baseline.mean, baseline.std, baseline.weight)
    return StreamUpdate(
        options.stream, start, whiten.update, whiten.half_life, options.expect_version
    )


def _failure(error: InputError, index: int) -> ItemFailure:
    pointer = item_pointer(index, alone=False)
    return ItemFailure(
        code=error.code,
        detail=detail_of(error),
        pointer=pointer if error.field is None else f"{pointer}/{error.field}",
    )


def _observe(state: AppState, options: PpoEnvelope, result: StreamUpdateResult) -> None:
    shaping, added, stream = result.shaping, result.added, result.stream
    metrics = state.streams.metrics
    if added is not None:
        metrics.updates("applied", added.num_samples)
        metrics.updates("duplicate", len(added.duplicates))
        metrics.updates("conflict", len(added.conflicts))
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
