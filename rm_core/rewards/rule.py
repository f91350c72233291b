"""From raw rewards to what a reply says of a response; shared by all scoring routes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rm_core.errors import ConfigurationError
from rm_core.rewards.calibration import Calibration, calibrate, sigmoid
from rm_core.rewards.selection import DEFAULT_TAU, select
from rm_core.types import ROLES, EncodedItem, ModelProfile, ReadPosition, Role

TauSource = Literal["setting", "checkpoint", "default"]


@dataclass(frozen=True, slots=True)
class RewardRule:
    """How raw rewards become scores and a selection.

    Attributes:
        calibrations: of each loaded model.
        tau: the safety threshold on the score.
        tau_source: who set it: a setting, the safety checkpoint, or nobody (LLaMA-2's 0.15).
    """

    calibrations: Mapping[Role, Calibration]
    tau: float = DEFAULT_TAU
    tau_source: TauSource = "default"

    @classmethod
    def of(cls, profiles: Mapping[Role, ModelProfile], *, tau: float | None = None) -> "RewardRule":
        """The rule of the loaded models.

        Args:
            profiles: the loaded models, by role; at least one.
            tau: overrides the safety checkpoint's own threshold.

        Raises:
            ConfigurationError: no model is loaded.
        """
        if not profiles:
            raise ConfigurationError("no reward model is loaded; set a safety or helpfulness model")
        own = profiles["safety"].tau if "safety" in profiles else None
        candidates: tuple[tuple[float | None, TauSource], ...] = (
            (tau, "setting"),
            (own, "checkpoint"),
        )
        chosen, source = next(
            ((value, source) for value, source in candidates if value is not None),
            (DEFAULT_TAU, "default"),
        )
        calibrations = {
            role: Calibration(profiles[role].temperature, profiles[role].bias)
            for role in ROLES
            if role in profiles
        }
        return cls(calibrations, chosen, source)


@dataclass(frozen=True, slots=True)
class Within:
    """What one model gives within a response, at the places that were asked for.

    Attributes:
        places: where.
        ids: token ids at the places.
        rewards: raw rewards there, finite.
    """

    places: tuple[ReadPosition, ...]
    ids: tuple[int, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """What the engine made of one dialogue.

    Attributes:
        rewards: raw reward of each loaded model, finite.
        num_tokens: tokens read, the longest of the models'.
        warnings: any of "missing_eos", "double_bos", "truncated".
        within: each model's rewards at further places; empty unless they were asked for.
    """

    rewards: Mapping[Role, float]
    num_tokens: int
    warnings: tuple[str, ...] = ()
    within: Mapping[Role, Within] = field(default_factory=dict)

    @classmethod
    def of(cls, item: EncodedItem, rewards: Mapping[Role, tuple[float, ...]]) -> "ScoredItem":
        """The rewards of one item as `Scorer.forward_positions` gives them."""
        within = {
            role: Within(
                encoded.extra_positions,
                tuple(encoded.input_ids[place.position] for place in encoded.extra_positions),
                rewards[role][1:],
            )
            for role, encoded in item.by_role.items()
            if encoded.extra_positions
        }
        own = {role: values[0] for role, values in rewards.items()}
        return cls(own, item.num_tokens, item.warnings, within)


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """One response as the loaded models see it.

    Attributes:
        scored: raw rewards, token count, warnings.
        calibrated: calibrated reward of each model.
        scores: σ of it.
        selected: whose reward the rule took.
        logit: LOGIT of the selected score, which is the selected calibrated reward.
        scores_within: σ of each model's calibrated rewards at the places of `scored.within`.
    """

    scored: ScoredItem
    calibrated: Mapping[Role, float]
    scores: Mapping[Role, float]
    selected: Role
    logit: float
    scores_within: Mapping[Role, Sequence[float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The per-response part of a reply; a model that isn't loaded is absent."""
        reply: dict[str, Any] = {
            role: {"reward": self.scored.rewards[role], "score": self.scores[role]}
            for role in self.calibrated
        }
        reply["selected"] = self.selected
        reply["selected_reward"] = self.logit
        reply["num_tokens"] = self.scored.num_tokens
        reply["warnings"] = list(self.scored.warnings)
        return reply


def apply_reward_rule(
    rule: RewardRule, scored: Sequence[ScoredItem], is_safety: Sequence[bool]
) -> list[ScoredResponse]:
    """Calibrate, score and select.

    Args:
        rule: of the loaded models.
        scored: n responses' finite raw rewards.
        is_safety: the caller's tag of each response's prompt, n values.

    Returns:
        n rewards, in order.
    """
    if not scored:
        return []
    calibrated = {
        role: calibrate([item.rewards[role] for item in scored], calibration)
        for role, calibration in rule.calibrations.items()
    }
    scores = {role: sigmoid(values) for role, values in calibrated.items()}
    selection = select(
        calibrated.get("safety"), calibrated.get("helpfulness"), list(is_safety), tau=rule.tau
    )
    return [
        ScoredResponse(
            scored=item,
            calibrated={role: float(values[index]) for role, values in calibrated.items()},
            scores={role: float(values[index]) for role, values in scores.items()},
            selected="safety" if selection.use_safety[index] else "helpfulness",
            logit=float(selection.logit[index]),
            scores_within={
                role: sigmoid(calibrate(within.rewards, rule.calibrations[role])).tolist()
                for role, within in item.within.items()
            },
        )
        for index, item in enumerate(scored)
    ]
