"""The reward mathematics of design.md §2: one file per formula, numpy only, pure functions."""

from rm_core.rewards.calibration import (
    DEFAULT_SCORE_EPS,
    Calibration,
    calibrate,
    logit,
    sigmoid,
)
from rm_core.rewards.comparison import (
    pairwise_probabilities,
    rank,
    ranking,
    win_probability,
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
from rm_core.rewards.kl import KL_ESTIMATORS, KLEstimator, TokenKL, token_kl
from rm_core.rewards.selection import DEFAULT_TAU, Selection, select, select_scores
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
    whiten_batch,
)

__all__ = [
    "DEFAULT_BETA",
    "DEFAULT_EPS",
    "DEFAULT_SCORE_EPS",
    "DEFAULT_TAU",
    "DEGENERATE_STD",
    "KL_ESTIMATORS",
    "AdvantageKind",
    "Calibration",
    "GroupWhitened",
    "KLEstimator",
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
    "decay",
    "from_baseline",
    "group_advantages",
    "leave_one_out_advantages",
    "logit",
    "members",
    "merge",
    "pairwise_probabilities",
    "rank",
    "ranking",
    "select",
    "select_scores",
    "shape",
    "sigmoid",
    "statistics_of",
    "token_kl",
    "whiten",
    "whiten_batch",
    "whiten_groups",
    "win_probability",
    "winner",
]
