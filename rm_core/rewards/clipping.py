"""reward_clip: a bound of the whitened reward, off by default."""

import math
from collections.abc import Mapping
from typing import Literal, get_args

from rm_core.errors import InputError

RewardClipPreset = Literal["openrlhf", "deepspeed_chat"]
RewardClip = float | RewardClipPreset | None

REWARD_CLIPS: Mapping[RewardClipPreset, float] = {"openrlhf": 10.0, "deepspeed_chat": 5.0}
"""OpenRLHF's default `reward_clip_range` and DeepSpeed-Chat's `clip_reward_value`."""

MAX_REWARD = 1e30
"""Bound of every reward to either side: sums of such rewards stay finite in float32."""


def reward_bound(clip: RewardClip) -> float:
    """The largest whitened reward that a clip lets through, in either direction.

    Args:
        clip: a number above 0, a preset's name, or None for no more than float32 asks for.

    Raises:
        InputError: it is neither.
    """
    if clip is None:
        return MAX_REWARD
    bound = REWARD_CLIPS.get(clip, math.nan) if isinstance(clip, str) else clip
    if not 0.0 < bound < math.inf:
        raise InputError(
            f"reward_clip must be a finite number above 0 or one of "
            f"{', '.join(get_args(RewardClipPreset))}",
            field="reward_clip",
        )
    return min(bound, MAX_REWARD)


def clip_reward(whitened: float, clip: RewardClip) -> float:
    """A whitened reward within the clip's bounds; see `reward_bound`."""
    bound = reward_bound(clip)
    return min(max(whitened, -bound), bound)
