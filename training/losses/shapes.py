"""What every objective asks of its tensors: shapes that can't broadcast, precision that holds."""

import torch
from torch import Tensor

from rm_core.errors import ShapeMismatch


def require_vectors(names: str, first: Tensor, second: Tensor) -> None:
    """Refuse tensors that are not both (n,).

    (n,) against (n, 1) would broadcast, and silently compare everything with everything.

    Args:
        names: what they are, for the message.
        first: a tensor.
        second: another.
    """
    if first.shape != second.shape or first.dim() != 1:
        raise ShapeMismatch(
            f"{names} must both be (n,), found {tuple(first.shape)} and {tuple(second.shape)}"
        )


def require_lists(names: str, first: Tensor, second: Tensor) -> None:
    """Refuse tensors that are not both (lists, places)."""
    if first.shape != second.shape or first.dim() != 2:
        raise ShapeMismatch(
            f"{names} must both be (lists, places), found {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )


def precise(rewards: Tensor) -> Tensor:
    """Half-precision rewards as float32; float64 stays, for gradient checks."""
    return rewards if rewards.dtype == torch.float64 else rewards.float()


def sums_of_runs(values: Tensor, counts: Tensor) -> Tensor:
    """Sums of neighbours: of the first `counts[0]` values, of the next `counts[1]`, ….

    Args:
        values: (n,), float.
        counts: length of each run, (runs,), int64; 0 sums nothing.

    Raises:
        ShapeMismatch: no vectors, or the runs' lengths don't add up to n.
    """
    if counts.dim() != 1 or values.dim() != 1 or int(counts.sum()) != len(values):
        raise ShapeMismatch(
            f"counts must be (runs,) and add up to the values, found {tuple(counts.shape)} adding "
            f"up to {int(counts.sum())} for {tuple(values.shape)}"
        )
    runs = torch.arange(len(counts), device=counts.device)
    of_value = runs.repeat_interleave(counts, output_size=len(values))
    return values.new_zeros(len(counts)).index_add(0, of_value, values)


def means_of_runs(values: Tensor, counts: Tensor) -> Tensor:
    """Means of neighbours; see `sums_of_runs`. No run may be empty."""
    return sums_of_runs(values, counts) / counts
