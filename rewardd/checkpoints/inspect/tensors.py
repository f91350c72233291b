"""A checkpoint's weights, one tensor in memory at a time."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rewardd.checkpoints.convert.source import Head
from rewardd.checkpoints.convert.weights import WeightFiles, Weights
from rewardd.checkpoints.inspect.report import HeadFacts, Inspection, WeightFacts

STANDARD_ERRORS = 3.0
"""A spread this close to an initialiser's, in its own standard errors, looks like it."""


def weight_facts(
    weights: Sequence[Weights], files: Sequence[WeightFiles], *, finite: bool
) -> WeightFacts:
    """Count all tensors, and look for numbers that are none.

    Args:
        weights: of the model, an adapter, a value head.
        files: that hold them.
        finite: whether to look through every tensor, which reads the whole files.
    """
    dtypes: Counter[str] = Counter()
    wrong: list[str] = []
    for name, read in (item for group in weights for item in group.items()):
        tensor = read()
        dtypes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
        if finite and tensor.is_floating_point() and not _is_finite(tensor):
            wrong.append(name)
    return WeightFacts(
        parameters=sum(dtypes.values()),
        dtypes=dict(dtypes),
        files=sum(len(group.paths) for group in files),
        non_finite=tuple(wrong),
        finite_checked=finite,
    )


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.float() if tensor.itemsize < 2 else tensor).all())


def head_facts(head: Head, name: str) -> HeadFacts:
    """The head's shape and how its weights lie."""
    values = head.weight.float()
    return HeadFacts(
        name=name,
        shape=tuple(head.weight.shape),
        dtype=str(head.weight.dtype).removeprefix("torch."),
        mean=_or_zero(float(values.mean())),
        std=_or_zero(float(values.std())) if values.numel() > 1 else 0.0,
        bias=None if head.bias is None else _or_zero(float(head.bias)),
    )


def _or_zero(value: float) -> float:
    """JSON has no NaN; the finding on numbers that are none tells of it."""
    return value if math.isfinite(value) else 0.0


def check_head(head: Head, config: Mapping[str, Any], inspection: Inspection) -> None:
    """Report a head that says nothing, or that looks as if it had never been trained."""
    values = head.weight.float()
    if not bool(torch.isfinite(values).all()):
        inspection.add("problem", "head_not_finite", "the head holds NaN or infinity")
        return
    if not bool(values.any()):
        inspection.add(
            "problem", "head_is_zero", "the head's weights are all 0: every text gets one reward"
        )
        return
    initialiser = fresh_looking(values, config)
    if initialiser is not None:
        inspection.add(
            "note",
            "head_looks_fresh",
            f"the head's weights are spread as {initialiser} draws them: never trained, or hardly "
            "moved",
        )


def fresh_looking(values: Tensor, config: Mapping[str, Any]) -> str | None:
    """Which initialiser's draw the head's weights might be; None where they are unlike all.

    Of d normal numbers the standard error of the standard deviation is its 1/√(2d), and that of the
    mean its 1/√d.

    Args:
        values: the head's weights, float32.
        config: of the model, for its `initializer_range`.
    """
    size = values.numel()
    if size < 2:
        return None
    std, mean = float(values.std()), float(values.mean())
    known = {
        "transformers (initializer_range)": float(config.get("initializer_range") or 0.02),
        "OpenAI's recipe and rewardd (1/√(d+1))": 1 / math.sqrt(size + 1),
        "OpenRLHF (1/(d+1))": 1 / (size + 1),
        "torch.nn.Linear (uniform, 1/√(3d))": 1 / math.sqrt(3 * size),
    }
    if abs(mean) > STANDARD_ERRORS * std / math.sqrt(size):
        return None
    for name, wanted in known.items():
        if abs(std - wanted) <= STANDARD_ERRORS * wanted / math.sqrt(2 * size):
            return name
    return None
