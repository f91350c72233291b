"""What a reward model minimises: pure functions of rewards, nothing else.

All take rewards as float tensors, compute in float32 or better, and give one term for each thing
that they score: a pair, a ranking, a rated response, a step. Tensors that broadcasting would
silently compare each with all, (n,) with (n, 1), raise `ShapeMismatch`. `OBJECTIVES` is where a
further one is registered.
"""

from training.losses.labels import regression_terms, safety_auxiliary_terms, step_terms
from training.losses.objectives import (
    OBJECTIVES,
    Objective,
    Rewards,
    check_head,
    check_objectives,
    parse_objectives,
    reads_margins,
    targets_of,
)
from training.losses.pairwise import bradley_terry_terms, hinge_terms
from training.losses.rankings import kwise_terms, listnet_terms, plackett_luce_terms
from training.losses.regularisers import centering_terms, l2_terms
from training.losses.tokens import compared_positions, token_terms
from training.types import DEFAULT_OBJECTIVES

__all__ = [
    "DEFAULT_OBJECTIVES",
    "OBJECTIVES",
    "Objective",
    "Rewards",
    "bradley_terry_terms",
    "centering_terms",
    "check_head",
    "check_objectives",
    "compared_positions",
    "hinge_terms",
    "kwise_terms",
    "l2_terms",
    "listnet_terms",
    "parse_objectives",
    "plackett_luce_terms",
    "reads_margins",
    "regression_terms",
    "safety_auxiliary_terms",
    "step_terms",
    "targets_of",
    "token_terms",
]
