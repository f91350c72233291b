"""What the trainers that want one plain number per sample get, also where a sample failed."""

import logging
from dataclasses import dataclass
from typing import Self

from rm_client.checks import ScoreResult
from rm_client.errors import InvalidReply
from rm_client.models import FailedReply, ResponseReply

logger = logging.getLogger("rm_client")

DEFAULT_FAILED_REWARD = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sample's result as numbers, finite whatever happened.

    Attributes:
        reward: the selected model's calibrated reward; the caller's stand-in if the item failed.
        score: σ of the calibrated reward, in (0, 1); 0 if the item failed.
        selected_safety: whether the safety model's reward was selected.
        num_tokens: that the reward models read.
        failed: whether the item could not be judged.
    """

    reward: float
    score: float
    selected_safety: bool
    num_tokens: int
    failed: bool

    @classmethod
    def of(cls, result: ScoreResult, *, failed_reward: float) -> Self:
        """The outcome of one response.

        Args:
            result: of /score.
            failed_reward: what to report where the item failed: the trainers at hand crash on None
                and NaN, and one sample is not worth a run.
        """
        if isinstance(result, ResponseReply):
            return cls(
                reward=result.selected_reward,
                score=result.selected_score,
                selected_safety=result.selected == "safety",
                num_tokens=result.num_tokens,
                failed=False,
            )
        if isinstance(result, FailedReply):
            logger.warning(
                "a sample could not be judged and gets %g: %s (%s)",
                failed_reward,
                result.error.detail,
                result.error.code,
            )
            return cls(failed_reward, 0.0, selected_safety=False, num_tokens=0, failed=True)
        raise InvalidReply("a group's result came for a single response")
