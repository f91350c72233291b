"""What other projects' clients call the models: GET /v1/models, and `model` in bodies.

`rewardd` is the reward that the service's settings choose, and comes first: clients that ask for
the list send its first name back. The others are one model's calibrated reward each. Any further
name in a body (a path, "model") is not ours to judge and means what `rewardd` means.
"""

import time
from typing import Any

from rm_core.types import ROLES
from service.dialects.base import DialectOptions
from service.settings import RewardKind
from service.state import AppState

DEFAULT_MODEL = "rewardd"


def model_names(state: AppState) -> list[str]:
    """The names that are listed."""
    return [DEFAULT_MODEL, *state.version.rule.names]


def reward_of_model(name: object, options: DialectOptions) -> RewardKind | None:
    """The reward that a model's name asks for; None: what the address and the settings say."""
    return next((own for own in (*ROLES, *options.further) if own == name), None)


def models_list(state: AppState) -> dict[str, Any]:
    """The models in OpenAI's list, with vLLM's `root` and `max_model_len`."""
    return {
        "object": "list",
        "data": [model_card(state, name) for name in model_names(state)],
    }


def model_card(state: AppState, name: str) -> dict[str, Any]:
    """One model of the list.

    Args:
        state: the running service.
        name: one of `model_names`.
    """
    profiles = state.version.profiles
    concerned = [profiles[name]] if name in profiles else list(profiles.values())
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "rewardd",
        "root": concerned[0].name if len(concerned) == 1 else None,
        "parent": None,
        "max_model_len": min(profile.max_length for profile in concerned),
    }
