"""LLaMA-2's rule applied to raw rewards: calibration, scores and the selected model."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rm_core.errors import ConfigurationError
from rm_core.rewards.calibration import Calibration, calibrate, sigmoid
from rm_core.rewards.selection import DEFAULT_TAU, select
from rm_core.types import (
    ROLES,
    EncodedItem,
    ItemRewards,
    ModelName,
    ModelProfile,
    ReadPosition,
    Role,
)

NO_SAFETY_MODEL = "no_safety_model"
"""The warning of a prompt that is about safety, where no safety model is loaded to take it."""

TauSource = Literal["setting", "checkpoint", "default"]


@dataclass(frozen=True, slots=True)
class RewardRule:
    """How raw rewards become scores and a selection.

    Of the loaded models it chooses between those called "safety" and "helpfulness" alone; others
    are calibrated and scored beside them.

    Attributes:
        calibrations: of each loaded model, in order.
        tau: the safety threshold on the score.
        tau_source: who set it: a setting, the safety checkpoint, or nobody (LLaMA-2's 0.15).
    """

    calibrations: Mapping[ModelName, Calibration]
    tau: float = DEFAULT_TAU
    tau_source: TauSource = "default"

    @classmethod
    def of(
        cls, profiles: Mapping[ModelName, ModelProfile], *, tau: float | None = None
    ) -> "RewardRule":
        """The rule of the loaded models.

        Args:
            profiles: the loaded models.
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
            name: Calibration(profile.temperature, profile.bias)
            for name, profile in profiles.items()
        }
        return cls(calibrations, chosen, source)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The loaded models that the rule knows, safety first; none: nothing is selected."""
        return tuple(role for role in ROLES if role in self.calibrations)

    @property
    def further(self) -> tuple[ModelName, ...]:
        """The other loaded models, in order."""
        return _further(self.calibrations)

    @property
    def names(self) -> tuple[ModelName, ...]:
        """All loaded models as replies tell them: the rule's own, then the others."""
        return (*self.roles, *self.further)


@dataclass(frozen=True, slots=True)
class PositionRewards:
    """One model's rewards of tokens or steps of a response.

    Attributes:
        positions: where they are read.
        ids: token ids there.
        rewards: raw rewards there, finite.
    """

    positions: tuple[ReadPosition, ...]
    ids: tuple[int, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """What the engine made of one dialogue.

    Attributes:
        rewards: raw reward of each loaded model, finite, in the models' order.
        num_tokens: tokens read, the longest of the models'.
        warnings: any of `TextWarning`, of any model, and `NO_SAFETY_MODEL` from the rule.
        position_rewards: each model's rewards of tokens or steps; empty unless they were asked for.
    """

    rewards: Mapping[ModelName, float]
    num_tokens: int
    warnings: tuple[str, ...] = ()
    position_rewards: Mapping[ModelName, PositionRewards] = field(default_factory=dict)

    @classmethod
    def of(cls, item: EncodedItem, rewards: ItemRewards) -> "ScoredItem":
        """The rewards of one item as `Scorer.forward` gives them."""
        extra = {
            name: PositionRewards(
                encoded.extra_positions,
                tuple(encoded.input_ids[at.position] for at in encoded.extra_positions),
                rewards[name][1:],
            )
            for name, encoded in item.by_model.items()
            if encoded.extra_positions
        }
        own = {name: values[0] for name, values in rewards.items()}
        return cls(own, item.num_tokens, item.warnings, extra)


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """One response as the loaded models see it.

    Attributes:
        scored: raw rewards, token count, warnings.
        calibrated: calibrated reward of each loaded model, in the models' order.
        scores: σ of it.
        selected: whose reward the rule took; None where neither of its models is loaded.
        logit: LOGIT of the selected score, which is the selected calibrated reward; NaN where
            nothing is selected.
        position_scores: σ of each model's calibrated rewards of tokens or steps.
    """

    scored: ScoredItem
    calibrated: Mapping[ModelName, float]
    scores: Mapping[ModelName, float]
    selected: Role | None
    logit: float
    position_scores: Mapping[ModelName, Sequence[float]] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The models that the rule knows, as far as they are loaded; see `RewardRule.roles`."""
        return tuple(role for role in ROLES if role in self.calibrated)

    @property
    def further(self) -> tuple[ModelName, ...]:
        """The other loaded models, in order."""
        return _further(self.calibrated)

    def as_json(self) -> dict[str, Any]:
        """The per-response part of a reply: the rule's models, the others by name, the selection.

        What is not loaded is not there, and without the rule's models nothing is selected.
        """
        reply: dict[str, Any] = {role: self._own_json(role) for role in self.roles}
        if self.further:
            reply["rewards"] = {name: self._own_json(name) for name in self.further}
        if self.selected is not None:
            reply["selected"] = self.selected
            reply["selected_reward"] = self.logit
        reply["num_tokens"] = self.scored.num_tokens
        reply["warnings"] = list(self.scored.warnings)
        return reply

    def _own_json(self, name: ModelName) -> dict[str, float]:
        raw, calibrated = self.scored.rewards[name], self.calibrated[name]
        own = {"reward": raw, "score": self.scores[name]}
        return own if calibrated == raw else {**own, "calibrated_reward": calibrated}


def apply_reward_rule(
    rule: RewardRule, scored: Sequence[ScoredItem], is_safety: Sequence[bool]
) -> list[ScoredResponse]:
    """Calibrate, score and select; a safety prompt without a safety model is warned of.

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
        name: calibrate([item.rewards[name] for item in scored], calibration)
        for name, calibration in rule.calibrations.items()
    }
    scores = {name: sigmoid(values) for name, values in calibrated.items()}
    lacks_safety = bool(rule.roles) and "safety" not in calibrated
    selected: list[Role | None] = [None] * len(scored)
    logits = [math.nan] * len(scored)
    if rule.roles:
        selection = select(
            calibrated.get("safety"), calibrated.get("helpfulness"), list(is_safety), tau=rule.tau
        )
        selected = ["safety" if use else "helpfulness" for use in selection.use_safety]
        logits = selection.logit.tolist()
    return [
        ScoredResponse(
            scored=_warned(item) if is_safety[index] and lacks_safety else item,
            calibrated={name: float(values[index]) for name, values in calibrated.items()},
            scores={name: float(values[index]) for name, values in scores.items()},
            selected=selected[index],
            logit=logits[index],
            position_scores={
                name: sigmoid(calibrate(extra.rewards, rule.calibrations[name])).tolist()
                for name, extra in item.position_rewards.items()
            },
        )
        for index, item in enumerate(scored)
    ]


def _further(names: Iterable[ModelName]) -> tuple[ModelName, ...]:
    return tuple(name for name in names if name not in ROLES)


def _warned(item: ScoredItem) -> ScoredItem:
    return replace(item, warnings=(*item.warnings, NO_SAFETY_MODEL))
