import math

import numpy as np
import pytest

from rm_core.errors import InputError
from rm_core.rewards import MAX_REWARD, RewardClip, clip_reward, reward_bound


@pytest.mark.parametrize(
    ("clip", "bound"), [(0.5, 0.5), ("openrlhf", 10.0), ("deepspeed_chat", 5.0), (None, MAX_REWARD)]
)
def test_a_reward_lies_within_the_bound_on_either_side(clip: RewardClip, bound: float) -> None:
    assert reward_bound(clip) == bound
    assert clip_reward(1e300, clip) == bound
    assert clip_reward(-1e300, clip) == -bound
    assert [clip_reward(value, clip) for value in (-0.25, 0.0, 0.25)] == [-0.25, 0.0, 0.25]


def test_no_bound_is_beyond_float32() -> None:
    assert reward_bound(1e300) == MAX_REWARD
    assert np.isfinite(np.float32(1e6 * MAX_REWARD))


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf, "trlx"])
def test_another_clip_is_refused_and_the_presets_named(clip: RewardClip) -> None:
    with pytest.raises(InputError, match="openrlhf, deepspeed_chat") as caught:
        reward_bound(clip)

    assert caught.value.field == "reward_clip"
