"""Rewards as tests write them down."""

import torch


def tensor(*values: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A vector, in float64 unless told otherwise."""
    return torch.tensor(values, dtype=dtype)


def matrix(*rows: tuple[float, ...]) -> torch.Tensor:
    """Lists of equal length, (lists, places), float64."""
    return torch.tensor(rows, dtype=torch.float64)


def whole(*rows: tuple[int, ...]) -> torch.Tensor:
    """Ranks, (lists, places)."""
    return torch.tensor(rows)


def all_listed(like: torch.Tensor) -> torch.Tensor:
    """Lists without filling."""
    return torch.ones_like(like, dtype=torch.bool)
