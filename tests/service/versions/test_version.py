"""A version is whatever follows from the loaded models, and told apart by all that changes it."""

from dataclasses import replace

import pytest

from rm_core.rewards import from_baseline
from rm_core.types import Baseline, ModelProfile
from rm_core.types.profiles import SafetyThreshold
from service.versions.version import ModelVersion, provenance_of
from tests.fakes import FakeScorer

PROFILE = ModelProfile("safety", "n", "ab" * 32, "cd" * 32, 512)


class OfProfile(FakeScorer):
    """A scorer of one model that is what it is told."""

    def __init__(self, profile: ModelProfile) -> None:
        super().__init__((profile.role,))
        self.profile = profile

    @property
    def profiles(self) -> dict[str, ModelProfile]:
        return {self.profile.role: self.profile}


def test_the_template_is_a_parameter_of_the_weights() -> None:
    assert provenance_of({"safety": PROFILE}) == (
        'safety="abababababababab";template="cdcdcdcdcdcdcdcd"'
    )


def test_calibration_threshold_and_baseline_are_the_models_own() -> None:
    profile = replace(
        PROFILE,
        temperature=2.0,
        bias=0.5,
        baseline=Baseline(1.0, 2.0, 50.0),
        safety_threshold=SafetyThreshold(0.3, "found"),
    )
    version = ModelVersion.of(OfProfile(profile))

    assert version.rule.calibrations["safety"].temperature == 2.0
    assert (version.rule.tau, version.rule.tau_source) == (0.3, "checkpoint")
    assert version.initial == from_baseline(1.0, 2.0, 50.0)
    assert ModelVersion.of(OfProfile(profile), tau=0.4).rule.tau == 0.4


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "ef" * 32},
        {"template_hash": None},
        {"temperature": 1.5},
        {"bias": 0.1},
        {"layer": 3},
        {"max_length": 511},
        {"safety_threshold": SafetyThreshold(0.3, "found")},
    ],
)
def test_whatever_changes_rewards_changes_the_identity(changed: dict[str, object]) -> None:
    own = ModelVersion.of(OfProfile(PROFILE)).identity

    assert ModelVersion.of(OfProfile(replace(PROFILE, name="elsewhere"))).identity == own
    assert ModelVersion.of(OfProfile(replace(PROFILE, **changed))).identity != own  # type: ignore[arg-type]
