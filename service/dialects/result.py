"""Which number a text gets: the one that was asked for, or what stands in for a failure."""

import math
from collections.abc import Sequence

from rm_client.checks import SERVER_CODES
from rm_core.errors import InvariantViolation
from rm_core.rewards import sigmoid
from rm_core.rewards.rule import ScoredResponse
from rm_core.types import ROLES, ModelName
from service.dialects.base import TextReward
from service.problems import Problem
from service.results import ItemFailure, ItemResult
from service.settings import RewardKind, model_of_kind

SCORE_MARGIN = 1e-6
"""Scores stay this far inside (0, 1): OpenRLHF filters by an open interval, in float32."""


def text_rewards(
    results: Sequence[ItemResult],
    kind: RewardKind,
    names: tuple[ModelName, ...],
    *,
    fallback: float | None,
    whitened: Sequence[float] = (),
) -> list[TextReward]:
    """One reward per response or failure, in order.

    Args:
        results: what became of the texts; see `require_scored`.
        kind: which number is wanted.
        names: of the loaded models.
        fallback: the reward of a text that can't be scored.
        whitened: of the responses that could be, if that is what is wanted.
    """
    remaining = iter(whitened)
    own = model_of_kind(kind)
    further = None if own in ROLES else own
    found = []
    for one in results:
        if isinstance(one, ScoredResponse):
            reward = next(remaining) if kind == "whitened" else _number(one, kind)
            score = _inside(_calibrated(one, kind))
            found.append(TextReward(reward, score, names, one, further=further))
        elif fallback is not None:
            score = _inside(fallback)
            found.append(TextReward(fallback, score, names, failure=one, further=further))
    return found


def require_scored(
    results: Sequence[ItemResult], kind: RewardKind, *, fallback: float | None
) -> list[ItemResult]:
    """The texts' results, a number that isn't finite among the failures.

    Raises:
        Problem: a text can't be scored and there is no fallback; or the fault isn't the text's but
            ours, which no fallback stands for: a device that failed would fail every text, and
            the run would train on one number.
    """
    placed = [_finite(one, kind) for one in results]
    failures = [one for one in placed if isinstance(one, ItemFailure)]
    ours = [one for one in failures if one.code in SERVER_CODES]
    if ours:
        raise _unscorable(ours, hint=_NO_FALLBACK)
    if failures and fallback is None:
        raise _unscorable(failures, hint=_USE_A_FALLBACK)
    return placed


def _finite(one: ItemResult, kind: RewardKind) -> ItemResult:
    if isinstance(one, ItemFailure) or math.isfinite(_calibrated(one, kind)):
        return one
    return ItemFailure("nonfinite_reward", "The calibrated reward is not finite.")


def _number(response: ScoredResponse, kind: RewardKind) -> float:
    if kind.startswith("raw_"):
        name = model_of_kind(kind) or response.selected
        if name is None:
            raise InvariantViolation("a raw reward was asked for where none is selected")
        return response.scored.rewards[name]
    return _calibrated(response, kind)


def _calibrated(response: ScoredResponse, kind: RewardKind) -> float:
    """The calibrated reward of the model whose number is wanted; σ of it is the score."""
    name = model_of_kind(kind)
    return response.logit if name is None else response.calibrated[name]


def _inside(logit: float) -> float:
    (score,) = sigmoid([logit]).tolist()
    return min(max(float(score), SCORE_MARGIN), 1.0 - SCORE_MARGIN)


_NO_FALLBACK = "The fault is the server's and isn't the texts': no fallback reward stands for it"
_USE_A_FALLBACK = (
    "To give such texts a reward instead, set REWARDD_DIALECT_FALLBACK_REWARD below any that the "
    "model gives"
)


def _unscorable(failures: Sequence[ItemFailure], *, hint: str) -> Problem:
    status = max(failure.status for failure in failures)
    return Problem(
        status,
        failures[0].code if len(failures) == 1 or status >= 500 else "invalid_items",
        f"{len(failures)} of the texts could not be judged; `errors` says why. {hint}.",
        errors=[error for failure in failures for error in failure.problem_items()],
    )
