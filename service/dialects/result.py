"""Which number a text gets: the composite that was asked for, or what stands in for a failure."""

import math
from collections.abc import Sequence

from rm_core.rewards import sigmoid
from rm_core.rewards.ppo import PpoSample, ShapingOptions
from rm_core.rewards.rule import ScoredResponse
from service.dialects.base import RewardKind, TextReward
from service.ppo.stream_update import StreamUpdate, StreamUpdateResult, update_stream
from service.problems import Problem
from service.results import ItemFailure, ItemResult
from service.state import AppState
from service.streams.ledger_table import StoredReply
from service.streams.service import state_problems
from service.streams.store import Transaction

SCORE_MARGIN = 1e-6
"""Scores stay this far inside (0, 1): OpenRLHF filters by an open interval, in float32."""


async def text_rewards(
    state: AppState,
    results: Sequence[ItemResult],
    kind: RewardKind,
    stream: str,
    *,
    fallback: float | None,
) -> list[TextReward]:
    """One reward per response or failure, in order.

    Args:
        state: the running service.
        results: what became of the texts.
        kind: which number is wanted.
        stream: whose statistics whiten it, these texts merged first, if it is whitened.
        fallback: the reward of a text that can't be scored; None: there is none.

    Raises:
        Problem: a text can't be scored and there is no fallback; 503 if the state can't be written.
    """
    placed = [_finite(one, kind) for one in results]
    failures = [one for one in placed if isinstance(one, ItemFailure)]
    if failures and fallback is None:
        raise _unscorable(failures)
    scored_responses = [one for one in placed if isinstance(one, ScoredResponse)]
    rewards = iter(await _rewards(state, scored_responses, kind, stream))
    roles = state.rule.roles
    found = []
    for one in placed:
        if isinstance(one, ScoredResponse):
            score = _inside(_logit(one, kind))
            found.append(TextReward(next(rewards), score, roles, one))
        elif fallback is not None:
            found.append(TextReward(fallback, _inside(fallback), roles, failure=one))
    return found


def _finite(one: ItemResult, kind: RewardKind) -> ItemResult:
    if isinstance(one, ItemFailure) or math.isfinite(_logit(one, kind)):
        return one
    return ItemFailure("nonfinite_reward", "The calibrated reward is not finite.")


def _logit(scored_response: ScoredResponse, kind: RewardKind) -> float:
    """The calibrated reward that the composite is made of."""
    if kind in ("safety", "helpfulness"):
        return scored_response.calibrated[kind]
    return scored_response.logit


async def _rewards(
    state: AppState, scored_responses: Sequence[ScoredResponse], kind: RewardKind, stream: str
) -> list[float]:
    if kind != "whitened" or not scored_responses:
        return [_logit(scored_response, kind) for scored_response in scored_responses]
    streams = state.streams
    samples = [
        PpoSample(index, scored_response, None, None, None, index)
        for index, scored_response in enumerate(scored_responses)
    ]
    result: StreamUpdateResult | None = None

    def work(transaction: Transaction) -> StoredReply:
        nonlocal result
        update = StreamUpdate(stream, streams.initial)
        result = update_stream(transaction, update, ShapingOptions(beta=0.0), samples)
        return StoredReply(200, b"")

    with state_problems():
        applied = await streams.store.apply(work, key=None)
    assert result is not None  # noqa: S101 (without a key, nothing is replayed)
    streams.metrics.committed(applied)
    if result.added is not None:
        streams.metrics.updates("applied", result.added.num_samples)
    else:
        streams.metrics.updates("frozen", len(samples))
    return [sample.whitened for sample in result.shaping.outcomes]


def _inside(logit: float) -> float:
    (score,) = sigmoid([logit]).tolist()
    return min(max(float(score), SCORE_MARGIN), 1.0 - SCORE_MARGIN)


def _unscorable(failures: Sequence[ItemFailure]) -> Problem:
    status = max(failure.status for failure in failures)
    return Problem(
        status,
        failures[0].code if len(failures) == 1 or status >= 500 else "invalid_items",
        f"{len(failures)} of the texts could not be judged; `errors` says why. To give such texts "
        "a reward instead, set REWARDD_DIALECT_FALLBACK_REWARD below any that the model gives.",
        errors=[error for failure in failures for error in failure.problem_items()],
    )
