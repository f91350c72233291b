"""One version of the models: a request has all that it needs of them from the same one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from rm_core.rewards import Statistics
from rm_core.rewards.rule import RewardRule
from rm_core.types import ModelName, ModelProfile, Scorer
from service.streams.service import baseline_statistics

DIGEST_CHARACTERS = 16
"""Of a sha256, in hex: 64 bits tell checkpoints apart; /v1/info has all of it."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelVersion:
    """Loaded models and whatever follows from them.

    A request asks for the version once and takes scorer, rule and baseline from it, so that models
    which are replaced meanwhile are not half of its reply.

    Attributes:
        scorer: the loaded models.
        rule: calibrations and τ, from the checkpoints and the settings.
        initial: what a new stream starts from: the checkpoints' baseline, or nothing.
        provenance: whose rewards these are, as replies tell it.
        identity: equal for versions that give every text the same rewards, calibration and
            selection included; hex.
    """

    scorer: Scorer
    rule: RewardRule
    initial: Statistics
    provenance: str
    identity: str

    @classmethod
    def of(cls, scorer: Scorer, *, tau: float | None = None) -> "ModelVersion":
        """The version that a scorer's models are.

        Args:
            scorer: the loaded models.
            tau: overrides the safety checkpoint's own threshold.

        Raises:
            ConfigurationError: no model is loaded, or a checkpoint's baseline is out of range.
        """
        profiles = scorer.profiles
        rule = RewardRule.of(profiles, tau=tau)
        return cls(
            scorer,
            rule,
            baseline_statistics(profiles),
            provenance_of(profiles),
            _identity(profiles, rule),
        )

    @property
    def profiles(self) -> Mapping[ModelName, ModelProfile]:
        """What is known of the models, in their order."""
        return self.scorer.profiles


def provenance_of(profiles: Mapping[ModelName, ModelProfile]) -> str:
    """An RFC 9651 dictionary: weights by model, the template a parameter."""
    return ", ".join(
        f'{name}="{profile.digest[:DIGEST_CHARACTERS]}"'
        + (
            f';template="{profile.template_hash[:DIGEST_CHARACTERS]}"'
            if profile.template_hash is not None
            else ""
        )
        for name, profile in profiles.items()
    )


def _identity(profiles: Mapping[ModelName, ModelProfile], rule: RewardRule) -> str:
    models = [
        (name, own.digest, own.template_hash, own.max_length, own.layer)
        for name, own in profiles.items()
    ]
    calibrations = [(name, own.temperature, own.bias) for name, own in rule.calibrations.items()]
    return hashlib.sha256(repr((models, calibrations, rule.tau)).encode()).hexdigest()
