"""Calibration as the last part of a training, on the held-out split that it has just measured."""

from collections.abc import Sequence

from training.calibration.calibrate import (
    CalibrationOptions,
    CalibrationResult,
    calibrate_rewards,
)
from training.calibration.observations import observations_of
from training.calibration.readers import Reader
from training.calibration.references import ReferenceRewards, heldout_rewards, reference_rewards
from training.config import TrainingConfig
from training.data.examples import Comparison
from training.errors import DataError
from training.evaluation.scorer import Candidate


def calibrate_trained(
    heldout: Sequence[Comparison],
    rewards: Sequence[Sequence[float]],
    config: TrainingConfig,
    *,
    references: Sequence[Candidate],
    read: Reader,
) -> CalibrationResult:
    """Calibrate a model that was just trained.

    References that turn out to be unreadable for the model don't cost the training: the held-out
    responses stand in for them, and the source says why.

    Args:
        heldout: the held-out split.
        rewards: raw rewards of its responses.
        config: role, seed and what was asked for.
        references: responses of a reference policy, read before training; none: held-out ones.
        read: gives the model's raw rewards of these.
    """
    observations = observations_of(heldout, rewards)
    given: ReferenceRewards | None = None
    if references:
        try:
            given = reference_rewards(references, config.reference, read)
        except DataError as error:
            stand_in = heldout_rewards(observations.rewards)
            given = ReferenceRewards(stand_in.rewards, f"{stand_in.source} ({error})")
    options = CalibrationOptions(
        role=config.role,
        method=config.calibration,
        target_precision=config.safety_target_precision,
        baseline_weight=config.baseline_weight,
        seed=config.seed,
    )
    return calibrate_rewards(observations, options, references=given)
