"""Cells as trainings leave them, without the trainings."""

from collections.abc import Sequence

from training.ablation.grid import make_grid
from training.ablation.trials import Ablation, Cell
from training.config import TrainingConfig

CONFIG = TrainingConfig(role="safety", data=("d",), base="b", output="o")


def cell(
    gaps: Sequence[float],
    *,
    seed: int = 0,
    prompts: Sequence[str] | None = None,
    strengths: Sequence[str] | None = None,
) -> Cell:
    """One training's held-out gaps, one pair a prompt unless prompts are given."""
    names = tuple(f"pair-{index}" for index in range(len(gaps)))
    return Cell(
        seed=seed,
        pairs=names,
        gaps=tuple(gaps),
        prompts=tuple(prompts or names),
        strengths=tuple(strengths or [""] * len(gaps)),
        seconds=2.0,
    )


def ablation(*rows: Sequence[Cell]) -> Ablation:
    """Rows named margins: none, small, large."""
    grid = make_grid(CONFIG, margins=["none", "small", "large"][: len(rows)])
    return Ablation(grid, tuple(tuple(row) for row in rows))
