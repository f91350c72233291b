"""Values of the field that settings, data and training share."""

from typing import Literal, get_args

Strength = Literal["significantly_better", "better", "slightly_better", "negligibly_better"]


STRENGTHS: tuple[Strength, ...] = get_args(Strength)
"""LLaMA-2's four grades of preference (arXiv 2307.09288 §3.2.1), the strongest first."""


Split = Literal["train", "heldout"]


Precision = Literal["auto", "fp32", "bf16"]


PairWeighting = Literal["pair", "prompt"]


Trainable = Literal["full", "head", "lora", "qlora"]


CalibrationMethod = Literal["auto", "labels", "pairs", "none"]


CALIBRATION_METHODS: tuple[CalibrationMethod, ...] = get_args(CalibrationMethod)


DEFAULT_TARGET_PRECISION = 0.89
