"""The reply of /ppo_reward, as bytes."""

from collections.abc import Sequence
from typing import Any

import orjson

from rm_core.rewards.ppo import (
    GroupSummary,
    PpoSample,
    ShapedSample,
)
from service.ppo.stream_update import StreamUpdateResult
from service.results import ItemFailure
from service.schemas.ppo import PpoEnvelope


def render(
    options: PpoEnvelope,
    places: Sequence[PpoSample | ItemFailure],
    result: StreamUpdateResult,
    warnings: Sequence[str] = (),
    provenance: str = "",
) -> bytes:
    """The reply's bytes, strict JSON.

    Args:
        options: of the request.
        places: its items, each with its rewards or its failure.
        result: what became of its stream, and the shaped rewards.
        warnings: of the request as a whole.
        provenance: which models gave the rewards; it stands here and not in a header alone, as a
            retry is given these bytes whatever models serve by then.
    """
    outcomes = {outcome.sample.index: outcome for outcome in result.shaping.outcomes}
    duplicates = result.added.duplicates if result.added else frozenset()
    items = [
        place.as_json()
        if isinstance(place, ItemFailure)
        else _item(outcomes[place.index], counted=place.index in duplicates)
        for place in places
    ]
    statistics = _statistics(options, result, warnings)
    reply = {"items": items, "statistics": statistics, "provenance": provenance}
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def provenance_in(reply: bytes) -> str:
    """Which models gave the rewards of a reply that `render` wrote; "" where it doesn't say."""
    told = orjson.loads(reply)
    return str(told.get("provenance", "")) if isinstance(told, dict) else ""


def _item(outcome: ShapedSample, *, counted: bool) -> dict[str, Any]:
    sample, shaped = outcome.sample, outcome.shaped
    reply: dict[str, Any] = {} if sample.id is None else {"id": sample.id}
    reply |= sample.scored_response.as_json()
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


def _statistics(
    options: PpoEnvelope, result: StreamUpdateResult, warnings: Sequence[str]
) -> dict[str, Any]:
    stream, shaping, added = result.stream, result.shaping, result.added
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
        "num_kl_clipped": shaping.num_kl_clipped,
        "num_reward_clipped": shaping.num_reward_clipped,
        "warnings": list(warnings),
    }
    if options.whiten.mode == "group":
        reply["groups"] = [_group(group) for group in shaping.groups]
    return reply


def _group(group: GroupSummary) -> dict[str, Any]:
    return {
        "group": group.group if isinstance(group.group, str | int) else None,
        "items": list(group.indices),
        "count": int(group.statistics.count),
        "mean": group.statistics.mean,
        "std": group.statistics.std,
    }
