"""One plain number per sample for trainers that want just that, failed samples included."""

import logging
from dataclasses import dataclass
from typing import Self

from rm_client.checks import SERVER_CODES
from rm_client.errors import InvalidReply, InvalidRequest, ItemsFailed
from rm_client.models import FailedReply, ResponseReply, RewardReply, ScoreResult

logger = logging.getLogger("rm_client")

RewardName = str
"""Which number is a sample's reward: `selected`, or that of a model by its name (`safety`,
`helpfulness`, a further one's), after the checkpoint's calibration; with `raw_` in front the head's
own."""

_HINT = (
    "To go on, set RM_CLIENT_FAILED_REWARD, or failed_reward, to a number below all that the model "
    "gives."
)
_RENDERED = (
    "the prompts have been through a chat template already, and the reward model's own is applied "
    "once more: set RM_CLIENT_RENDERED=1, or rendered=True"
)
_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class SampleReward:
    """One sample's reward and what else is worth plotting, as finite numbers.

    Attributes:
        reward: the selected model's calibrated reward, or what else was asked for;
            `failed_reward` if the item failed.
        score: σ of the selected model's calibrated reward, in (0, 1); where nothing is selected of
            that of the model that was asked for; 0 if the item failed.
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
    def of(
        cls,
        result: ScoreResult,
        *,
        failed_reward: float | None,
        name: RewardName = "selected",
    ) -> Self:
        """The reward in one response's result.

        Args:
            result: of /score.
            failed_reward: what to report where the sample can't be scored; None: an exception.
                There is no number that is right for every model: one above what bad texts get
                would teach the policy to write texts that can't be scored.
            name: which number.

        Raises:
            ItemsFailed: the sample can't be scored, and there is no `failed_reward`; or it is the
                server that could not score it now, which no number stands for.
            InvalidRequest: the model that `name` names is not loaded.
        """
        if isinstance(result, ResponseReply):
            _tell_of(result.warnings)
            return cls(
                reward=reward_named(name, result),
                score=_score_of(name, result),
                selected_safety=result.selected == "safety",
                num_tokens=result.num_tokens,
                failed=False,
            )
        if not isinstance(result, FailedReply):
            raise InvalidReply("a group's result came for a single response")
        require_sample_failure(result)
        if failed_reward is None:
            raise ItemsFailed({0: result.error}, hint=_HINT)
        logger.warning(
            "a sample could not be scored and gets %g: %s (%s)",
            failed_reward,
            result.error.detail,
            result.error.code,
        )
        return cls(failed_reward, 0.0, selected_safety=False, num_tokens=0, failed=True)


def reward_named(name: RewardName, result: ResponseReply) -> float:
    """One of a response's numbers.

    Raises:
        InvalidRequest: it is that of a model that the server has not.
    """
    own = _named(name, result)
    return own.reward if name.startswith("raw_") else own.calibrated


def _score_of(name: RewardName, result: ResponseReply) -> float:
    return result.selected_score if result.selected is not None else _named(name, result).score


def _named(name: RewardName, result: ResponseReply) -> RewardReply:
    wanted = name.removeprefix("raw_")
    model = result.selected if wanted == "selected" else wanted
    if model is None:
        raise InvalidRequest(
            "the server has neither a safety nor a helpfulness model, so that nothing is selected; "
            f"ask for the reward of one of {', '.join(result.rewards)}"
        )
    roles = {"safety": result.safety, "helpfulness": result.helpfulness}
    own = roles[model] if model in roles else result.rewards.get(model)
    if own is None:
        raise InvalidRequest(f"the server has no {model} model; ask for another reward")
    return own


def require_sample_failure(result: FailedReply) -> None:
    """Refuse to take the server's trouble for the sample's.

    Raises:
        ItemsFailed: it is the server that failed.
    """
    if result.error.code in SERVER_CODES:
        raise ItemsFailed({0: result.error}, hint="It is the server's trouble, not the sample's.")


def _tell_of(warnings: "list[str]") -> None:
    if "prompt_already_rendered" in warnings and _RENDERED not in _told:
        _told.add(_RENDERED)
        logger.warning(_RENDERED)
