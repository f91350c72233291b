"""One plain number per sample for trainers that want just that, failed samples included."""

import logging
from dataclasses import dataclass
from typing import Self

from rm_client.checks import ScoreResult
from rm_client.errors import InvalidReply, ItemsFailed
from rm_client.models import FailedReply, ResponseReply

logger = logging.getLogger("rm_client")

_HINT = (
    "To go on, set RM_CLIENT_FAILED_REWARD, or failed_reward, to a number below all that the model "
    "gives."
)


@dataclass(frozen=True, slots=True)
class SampleReward:
    """One sample's reward and what else is worth plotting, as finite numbers.

    Attributes:
        reward: the selected model's calibrated reward; `failed_reward` if the item failed.
        score: σ of the calibrated reward, in (0, 1); 0 if the item failed.
        selected_safety: whether the safety model's reward was selected.
        num_tokens: that the reward models read.
        failed: whether the item could not be scored.
    """

    reward: float
    score: float
    selected_safety: bool
    num_tokens: int
    failed: bool

    @classmethod
    def of(cls, result: ScoreResult, *, failed_reward: float | None) -> Self:
        """The reward in one response's result.

        Args:
            result: of /score.
            failed_reward: what to report where the item failed; None: an exception. There is no
                number that is right for every model: one above what bad texts get would teach the
                policy to write texts that can't be scored.

        Raises:
            ItemsFailed: the item failed, and there is no `failed_reward`.
        """
        if isinstance(result, ResponseReply):
            return cls(
                reward=result.selected_reward,
                score=result.selected_score,
                selected_safety=result.selected == "safety",
                num_tokens=result.num_tokens,
                failed=False,
            )
        if isinstance(result, FailedReply) and failed_reward is None:
            raise ItemsFailed({0: result.error}, hint=_HINT)
        if isinstance(result, FailedReply) and failed_reward is not None:
            logger.warning(
                "a sample could not be scored and gets %g: %s (%s)",
                failed_reward,
                result.error.detail,
                result.error.code,
            )
            return cls(failed_reward, 0.0, selected_safety=False, num_tokens=0, failed=True)
        raise InvalidReply("a group's result came for a single response")
