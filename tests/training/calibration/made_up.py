"""Rewards whose calibration is known because the outcomes were drawn from it."""

import numpy as np
from scipy.special import expit

from training.calibration.observations import Labels, Observations, Pairs


def drawn(
    *,
    temperature: float = 2.0,
    bias: float = -0.5,
    prompts: int = 400,
    per_prompt: int = 2,
    spread: float = 3.0,
    seed: int = 0,
) -> Observations:
    """Labels with P(safe) = σ(r/T + b), and pairs whose better one wins with σ(Δr/T)."""
    generator = np.random.default_rng(seed)
    reward = generator.normal(0.5, spread, size=(prompts, per_prompt))
    is_safe = generator.random(reward.shape) < expit(reward / temperature + bias)
    prompt = np.repeat(np.arange(prompts), per_prompt)
    first_wins = generator.random(prompts) < expit((reward[:, 0] - reward[:, 1]) / temperature)
    gap = (reward[:, 0] - reward[:, 1]) * np.where(first_wins, 1.0, -1.0)
    return Observations(
        Pairs(gap, np.arange(prompts)),
        Labels(reward.ravel(), is_safe.ravel(), prompt),
        reward.ravel(),
        prompts,
    )


def of_pairs(gap: list[float], prompt: list[int] | None = None) -> Observations:
    """Pairs alone, one a prompt unless told otherwise."""
    numbers = np.arange(len(gap)) if prompt is None else np.array(prompt)
    empty = np.zeros(0)
    return Observations(
        Pairs(np.array(gap), numbers),
        Labels(empty, empty.astype(bool), empty.astype(int)),
        np.array(gap),
        int(numbers.max()) + 1,
    )


def of_labels(reward: list[float], is_safe: list[bool]) -> Observations:
    """Labels alone, one a prompt."""
    empty = np.zeros(0)
    return Observations(
        Pairs(empty, empty.astype(int)),
        Labels(np.array(reward), np.array(is_safe), np.arange(len(reward))),
        np.array(reward),
        len(reward),
    )
