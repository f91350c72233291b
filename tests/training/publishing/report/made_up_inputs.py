"""A training's figures without a training: made-up rewards, labels, grades and texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit

from rm_core.checkpoint.manifest import RewardModelManifest
from rm_core.text.contract import PositionContract
from rm_core.types import Role
from tests.training.made_up import made_up_report
from training.calibration.calibrate import CalibrationOptions, calibrate_rewards
from training.calibration.observations import observations_of
from training.config import TrainingConfig
from training.data.examples import EncodedExample, Pair
from training.evaluation import accuracy_of
from training.evaluation.heldout import heldout_figures
from training.evaluation.rewards import pair_table
from training.publishing.report.inputs import ReportInputs
from training.publishing.report.plots.drawing import Absent, Plot
from training.types import STRENGTHS

Plots = dict[str, Plot | Absent]

LOG = tuple(
    {
        "step": 5 * n,
        "epoch": 0.1 * n,
        "loss": 0.7 - 0.03 * n,
        "accuracy": 0.5 + 0.03 * n,
        "learning_rate": 1e-3 / n,
        "grad_norm": 0.4 * n,
    }
    for n in range(1, 11)
)


def comparisons(
    prompts: int = 60, *, safety: bool = True, graded: bool = True, texts: Sequence[str] = ()
) -> tuple[list[EncodedExample], list[tuple[float, ...]]]:
    """Prompts with two, every fifth with four responses, and rewards that are right more or less.

    Args:
        prompts: how many.
        safety: with labels.
        graded: with grades of strength.
        texts: stand in for prompt, chosen and rejected of every prompt.
    """
    rng = np.random.default_rng(3)
    made, rewards = [], []
    for n in range(prompts):
        count = 4 if n % 5 == 0 else 2
        pairs = tuple(
            Pair(i, j, 0.5, STRENGTHS[n % 4] if graded and count == 2 else None)
            for i in range(count)
            for j in range(i + 1, count)
        )
        own = tuple(float(rng.normal(1.0 - 0.9 * i, 1.5)) for i in range(count))
        responses = tuple(
            f"answer {i} to {n}: " + "word " * int(rng.integers(4, 90)) for i in range(count)
        )
        made.append(
            EncodedExample(
                id=f"record-{n}",
                prompt_key=f"key-{n}",
                prompt=texts[0] if texts else f"question {n}",
                responses=(*texts[1:3], *responses[2:]) if texts else responses,
                pairs=pairs,
                is_safe=tuple(bool(rng.random() < expit(2.5 * r + 0.5)) for r in own)
                if safety
                else (),
                tags=("a tag",),
                ranking=tuple(range(count)),
                source="made up",
            )
        )
        rewards.append(own)
    return made, rewards


def report_inputs(
    made: Sequence[EncodedExample] | None = None,
    rewards: Sequence[Sequence[float]] | None = None,
    *,
    role: Role = "safety",
    history: Sequence[Mapping[str, float]] = LOG,
    **settings: Any,
) -> ReportInputs:
    """Everything that a report is made from; the usual sixty prompts unless others are given."""
    if made is None or rewards is None:
        made, rewards = comparisons()
    config = TrainingConfig(
        role=role, data=("data.jsonl",), base="org/base", output="models/safety", **settings
    )
    figures = heldout_figures(made, rewards)
    baselines = {}
    if figures.pairs is not None:
        table = pair_table(made, [[float(len(t)) for t in c.responses] for c in made])
        baselines = {
            "longer_wins": accuracy_of(table.gap, table.keys),
            "shorter_wins": accuracy_of(-table.gap, table.keys),
        }
    return ReportInputs(
        config=config,
        data=made_up_report(),
        figures=figures,
        baselines=baselines,
        calibration=calibrate_rewards(
            observations_of(made, rewards), CalibrationOptions(role=role)
        ),
        history=history,
        examples=made,
        rewards=rewards,
    )


@cache
def usual_inputs(role: Role = "safety") -> ReportInputs:
    """The inputs of the usual sixty prompts, made once."""
    return report_inputs(role=role)


def manifest_of(given: ReportInputs) -> RewardModelManifest:
    """The manifest as publishing writes it, but for the files' digests."""
    bare = RewardModelManifest(
        role=given.config.role,
        position=PositionContract("chat", "tokenizer", "never", "last_token", 128),
        metrics={"split": "heldout", **given.figures.to_metrics()},
        data={"fingerprint": "f" * 64},
        base_model={"name": "org/base", "weights_sha256": "b" * 64},
        training=given.config.to_json(),
        versions={"python": "3.12"},
    )
    return replace(given.calibration.applied_to(bare), files={"model.safetensors": "a" * 64})


@cache
def rated_inputs() -> ReportInputs:
    """The inputs of a training on ratings of single responses and nothing else."""
    rng = np.random.default_rng(1)
    made = [
        EncodedExample(str(n), str(n), f"question {n}", (f"answer {n}",), ratings=(float(n % 5),))
        for n in range(30)
    ]
    rewards = [(float(rng.normal(n % 5, 0.5)),) for n in range(30)]
    return report_inputs(made, rewards, role="helpfulness", objectives={"regression": 1.0})
