"""The check that a compiled library passes before it is used: a small case of each function."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from rm_core.engine.native.compiler import CannotCompile
from rm_core.engine.native.library import NativeLibrary, Reads

MOST = 1e-5
"""Of a result's error: inputs are of the order of 1."""

_ROWS, _GROUP, _GROUPS, _DIM = 75, 3, 2, 40
"""More keys than one step takes; more than a vector, and not whole vectors."""


def check(library: NativeLibrary) -> None:
    """Compare each function with its definition in float64.

    Raises:
        CannotCompile: a result is off; the compiler, the processor or the source is at fault.
    """
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    errors = {
        "attention": _attention_error(library, random(_GROUP * _GROUPS + 2 * _GROUPS, _ROWS, _DIM)),
        "norm": _norm_error(library, random(_ROWS, _DIM)),
        "rotation": _rotation_error(library, random(_ROWS, 2 * _DIM), random(_ROWS, _DIM)),
        "activation": _gate_error(library, random(2, _ROWS, _DIM) * 5),
    }
    for name, error in errors.items():
        if not error <= MOST:  # NaN is not
            raise CannotCompile(f"the compiled {name} is off by {error:.1e} in a trial")


def _attention_error(library: NativeLibrary, all_heads: Tensor) -> float:
    query, key, value = torch.split(all_heads[None] * 2, [_GROUP * _GROUPS, _GROUPS, _GROUPS], 1)
    lanes = np.arange(0, _ROWS * _GROUP, library.lanes)
    blocks = [(0, first, min(library.lanes, _ROWS * _GROUP - first)) for first in lanes]
    reads = Reads(np.arange(_ROWS), np.array([(0, 0, _ROWS)]), np.array(blocks))
    found = library.attention(query, [(key, value)], reads, scale=0.25)
    q, k, v = query.double(), key.double(), value.double()
    exact = scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.25, enable_gqa=True)
    return _largest(found.transpose(1, 2), exact)


def _norm_error(library: NativeLibrary, x: Tensor) -> float:
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt() * x[0]
    return _largest(library.rms_norm(x, x[0], 1e-5), exact)


def _rotation_error(library: NativeLibrary, x: Tensor, table: Tensor) -> float:
    half = _DIM // 2
    cos, sin = torch.cat([table, table], 1)[:, half:-half].contiguous(), table.clone()
    cos[:, half:], sin[:, half:] = cos[:, :half], sin[:, :half]
    heads = x.double().view(_ROWS, -1, _DIM)
    turned = torch.cat([-heads[..., half:], heads[..., :half]], -1)
    exact = heads * cos[:, None] + turned * sin[:, None]
    found = x.clone()
    library.rotate(found, cos, sin)
    return _largest(found.view_as(exact), exact)


def _gate_error(library: NativeLibrary, both: Tensor) -> float:
    gate, up = both
    exact = silu(gate.double()) * up.double()
    found = gate.clone()
    library.gate(found, up.contiguous())
    return _largest(found, exact) / 5


def _largest(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).abs().max())
