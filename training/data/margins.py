"""Margins: by how much the reward of the better response should be higher, by grade of strength."""

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from rm_core.errors import ConfigurationError
from training.types import STRENGTHS, Margins, MarginTable, Strength

MARGINS: Mapping[MarginTable, Margins] = {
    "none": {
        "significantly_better": 0.0,
        "better": 0.0,
        "slightly_better": 0.0,
        "negligibly_better": 0.0,
    },
    "small": {
        "significantly_better": 1.0,
        "better": 2 / 3,
        "slightly_better": 1 / 3,
        "negligibly_better": 0.0,
    },
    "large": {
        "significantly_better": 3.0,
        "better": 2.0,
        "slightly_better": 1.0,
        "negligibly_better": 0.0,
    },
}
"""Margin m(r) of each strength grade in reward units. Source: arXiv 2307.09288, Table 27."""


def margins_of(choice: MarginTable | Margins) -> Margins:
    """The table that a name stands for, or one's own.

    Raises:
        ConfigurationError: no such name; or a grade is missing, unknown or negative.
    """
    if not isinstance(choice, Mapping):
        if choice not in MARGINS:
            raise ConfigurationError(
                f"`margins` must be one of {', '.join(get_args(MarginTable))}, or a table with a "
                f"number for each of {', '.join(STRENGTHS)}"
            )
        return MARGINS[choice]
    table = cast("Mapping[str, Any]", choice)
    if set(table) != set(STRENGTHS):
        raise ConfigurationError(
            f"a table of `margins` names each of {', '.join(STRENGTHS)}, and nothing else"
        )
    for grade, margin in table.items():
        known = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not known or not (math.isfinite(margin) and margin >= 0):
            raise ConfigurationError(f"`margins.{grade}` must be a finite number, at least 0")
    return {cast("Strength", grade): float(margin) for grade, margin in table.items()}
