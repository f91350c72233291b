"""Deterministic matrix products, of one fixed shape: a text gets the same bits in any company.

A matrix product's rounding depends on its shape: libraries choose blocking and kernels by the
number of rows. Given one shape, each row's result depends on that row alone, wherever it stands. So
every linear layer works on chunks of exactly `ROWS` rows, the last one filled up with zeros.

Llama-shaped trunks on the CPU are run so by `chunked`, in chunks of several sizes where those round
alike (`row_shapes`), with attention by path, which shares prefixes. Of other trunks the linear
layers are changed here, and attention is run for each text by itself, because merging parts rounds
too.

What holds on one machine with one thread count need not hold on another: it is the library's choice
of kernel that must not change.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

ROWS = 96
"""Rows of every matrix product: small, so that one short text pays little for the filling.

Kernels take rows by sixes (MKL's for AVX2), eights or more at once, and what is left over by other
code that rounds otherwise: 96 leaves nothing over. With 128, the last two rows had bits of their
own on processors without AVX-512.
"""


def fix_product_shapes(trunk: Any) -> int:
    """Make every linear layer of a trunk compute in chunks of `ROWS` rows.

    Args:
        trunk: a transformers base model; its layers' `forward` is replaced on the instances.

    Returns:
        How many layers were changed.
    """
    changed = 0
    for module in trunk.modules():
        if isinstance(module, nn.Linear):
            module.forward = _linear(module)  # type: ignore[assignment]  # hides the method
            changed += 1
        elif isinstance(module, Conv1D):
            module.forward = _conv1d(module)
            changed += 1
    return changed


def in_fixed_chunks(product: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """A product over rows, chunk by chunk of one shape.

    Args:
        product: (ROWS, features in) → (ROWS, features out), each row by itself.
        rows: (…, features in).

    Returns:
        (…, features out).
    """
    flat = rows.reshape(-1, rows.shape[-1])
    count = flat.shape[0]
    missing = -count % ROWS
    if missing:
        flat = torch.cat([flat, flat.new_zeros(missing, flat.shape[1])])
    out = torch.cat([product(chunk) for chunk in torch.split(flat, ROWS)])
    return out[:count].view(*rows.shape[:-1], -1)


def _linear(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(rows: Tensor) -> Tensor:
        return in_fixed_chunks(lambda chunk: linear(chunk, module.weight, module.bias), rows)

    return forward


def _conv1d(module: Any) -> Callable[[Tensor], Tensor]:
    """GPT-2's layer: a linear layer with its weight transposed."""

    def forward(rows: Tensor) -> Tensor:
        return in_fixed_chunks(lambda chunk: torch.addmm(module.bias, chunk, module.weight), rows)

    return forward
