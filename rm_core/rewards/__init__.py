"""The reward mathematics of design.md §2: one file per formula, numpy only, pure functions."""

from rm_core.rewards.calibration import (
    Calibration,
    calibrate,
    raw_at_score,
    sigmoid,
)
from rm_core.rewards.clipping import (
    MAX_REWARD,
    REWARD_CLIPS,
    RewardClip,
    RewardClipPreset,
    clip_reward,
    reward_bound,
)
from rm_core.rewards.comparison import (
    pairwise_probabilities,
    rank,
    ranking,
    winner,
)
from rm_core.rewards.groups import (
    DEGENERATE_STD,
    AdvantageKind,
    GroupWhitened,
    advantages_of,
    centred_advantages,
    group_advantages,
    leave_one_out_advantages,
    members,
    whiten_groups,
)
from rm_core.rewards.kl import (
    DEFAULT_KL_CLIP,
    KL_ESTIMATORS,
    KLEstimator,
    TokenKL,
    token_kl,
)
from rm_core.rewards.selection import DEFAULT_TAU, Selection, select
from rm_core.rewards.shaping import DEFAULT_BETA, Shaped, shape
from rm_core.rewards.steps import StepAggregation, aggregate_steps
from rm_core.rewards.whitening import (
    DEFAULT_EPS,
    Statistics,
    Whitened,
    admissible,
    decay,
    from_baseline,
    merge,
    statistics_of,
    whiten,
)

__all__ = [
    "DEFAULT_BETA",
    "DEFAULT_EPS",
    "DEFAULT_KL_CLIP",
    "DEFAULT_TAU",
    "DEGENERATE_STD",
    "KL_ESTIMATORS",
    "MAX_REWARD",
    "REWARD_CLIPS",
    "AdvantageKind",
    "Calibration",
    "GroupWhitened",
    "KLEstimator",
    "RewardClip",
    "RewardClipPreset",
    "Selection",
    "Shaped",
    "Statistics",
    "StepAggregation",
    "TokenKL",
    "Whitened",
    "admissible",
    "advantages_of",
    "aggregate_steps",
    "calibrate",
    "centred_advantages",
    "clip_reward",
    "decay",
    "from_baseline",
    "group_advantages",
    "leave_one_out_advantages",
    "members",
    "merge",
    "pairwise_probabilities",
    "rank",
    "ranking",
    "raw_at_score",
    "reward_bound",
    "select",
    "shape",
    "sigmoid",
    "statistics_of",
    "token_kl",
    "whiten",
    "whiten_groups",
    "winner",
]
