"""What a reply tells of the loaded models and of the rule between them, for people and clients."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rm_core.rewards import raw_at_score
from rm_core.rewards.rule import RewardRule
from rm_core.types import EngineCacheStats, ModelName, ModelProfile


def models_json(profiles: Mapping[ModelName, ModelProfile]) -> dict[str, dict[str, Any]]:
    """Each loaded model: weights, contract, calibration and how it was fitted, baseline, quantiles.

    The layer that it is read at stands there if it is not the last.

    Args:
        profiles: the loaded models, by name.
    """
    models: dict[str, dict[str, Any]] = {}
    for name, profile in profiles.items():
        model = asdict(profile)
        del model["role"], model["safety_threshold"]  # the key, and the rule's in "selection"
        if profile.layer is None:
            del model["layer"]
        models[name] = model
    return models


def caches_json(stats: EngineCacheStats, *, per_key: bool) -> dict[str, Any]:
    """The engine's caches: sizes in bytes, their bounds, and what they have given so far.

    Args:
        stats: of the engine.
        per_key: whether callers of different API keys meet nothing of each other's.
    """
    return {**asdict(stats), "per_key": per_key}


def selection_json(rule: RewardRule, profiles: Mapping[ModelName, ModelProfile]) -> dict[str, Any]:
    """The rule: τ on the score and on the raw reward, and whose it is.

    Args:
        rule: in force.
        profiles: the loaded models, by name.
    """
    selection: dict[str, Any] = {
        "tau": rule.tau,
        "tau_source": rule.tau_source,
        "rule": "safety if is_safety or score < tau"
        if rule.roles
        else "nothing is selected: neither a safety nor a helpfulness model is loaded",
    }
    safety = profiles.get("safety")
    if safety is not None:
        selection["tau_raw"] = raw_at_score(rule.tau, rule.calibrations["safety"])
        threshold = safety.safety_threshold
        selection["checkpoint_threshold"] = None if threshold is None else asdict(threshold)
    return selection
