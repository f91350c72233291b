"""Values of the field that settings, data and training share; no torch."""

from collections.abc import Mapping
from typing import Literal, get_args

Strength = Literal["significantly_better", "better", "slightly_better", "negligibly_better"]
STRENGTHS: tuple[Strength, ...] = get_args(Strength)
"""LLaMA-2's four grades of preference (arXiv 2307.09288 §3.2.1), the strongest first."""

Margins = Mapping[Strength, float]
"""By how much the better response's reward should be higher, for every grade, reward units."""

MarginTable = Literal["none", "small", "large"]
"""Margins by name; `training.losses.MARGINS` has their values."""

Split = Literal["train", "heldout"]
Recipe = Literal["llama2_helpfulness", "llama2_safety"]
"""Mixtures of LLaMA-2 (arXiv 2307.09288 §3.2.2); `training.data.mixture` has their parts."""

Target = Literal["pairs", "rankings", "ratings", "tokens", "steps", "is_safe", "responses"]
"""What of the data an objective scores; "responses" needs nothing but the texts."""


Precision = Literal["auto", "fp32", "bf16"]
PairWeighting = Literal["pair", "prompt"]
Trainable = Literal["full", "head", "lora", "qlora"]

DEFAULT_OBJECTIVES: Mapping[str, float] = {"bradley_terry": 1.0}
"""Weights by names in `training.losses.OBJECTIVES`."""

CalibrationMethod = Literal["auto", "labels", "pairs", "none"]

DEFAULT_TARGET_PRECISION = 0.89
"""Of "unsafe" below τ: what LLaMA-2's 0.15 had."""
