"""The compiled library as Python calls it: pointers and strides, without copies."""

import ctypes
from collections.abc import Sequence
from ctypes import CDLL, POINTER, Structure, c_double, c_float, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rm_core.engine.native.compiler import CannotCompile

_HERE = Path(__file__).parent
SOURCES = tuple(_HERE / name for name in ("attention.cpp", "elementwise.cpp", "vectors.h"))

_SIZES: list[Any] = [c_int64] * 4


class Source(Structure):
    """Where keys and values lie, and their strides in floats; see attention.cpp."""

    _fields_: ClassVar[Any] = [
        *((name, c_void_p) for name in ("keys", "values")),
        *((name, c_int64) for name in ("key_token", "key_head", "value_token", "value_head")),
    ]


class Call(Structure):
    """One call of attention; see attention.cpp."""

    _fields_: ClassVar[Any] = [
        ("query", c_void_p),
        *((name, c_int64) for name in ("query_row", "query_head")),
        ("out", c_void_p),
        *((name, c_int64) for name in ("out_row", "out_head")),
        *((name, c_void_p) for name in ("positions", "sources", "pieces", "blocks")),
        *((name, c_int64) for name in ("num_blocks", "key_value_heads", "group", "dim", "window")),
        ("scale", c_double),
        ("parallel", c_void_p),
        ("threads", c_int64),
    ]


@dataclass(frozen=True, slots=True)
class Reads:
    """Which rows of a query read which keys and values; all arrays int64 and contiguous.

    Attributes:
        positions: of the query's rows in their sequences, (rows,).
        pieces: (pieces, 3): a source, its first token and how many; those of one chain together, so
            that their tokens stand at positions 0, 1, 2 …
        blocks: (blocks, 3): the first piece of a chain, the first lane that reads it and how many,
            at most `NativeLibrary.lanes`. A lane is a row and a query head of those that share a
            key-value head: row · heads + head.
    """

    positions: NDArray[np.int64]
    pieces: NDArray[np.int64]
    blocks: NDArray[np.int64]


class NativeLibrary:
    """The compiled functions; tensors are float32 on the CPU, their last dimension contiguous.

    Args:
        path: of the shared library.

    Raises:
        CannotCompile: it can't be loaded, or torch's threads can't be reached.
    """

    def __init__(self, path: Path) -> None:
        self._parallel = _start_on_threads()
        try:
            library = CDLL(str(path))
            self._attention = library.rewardd_attention
            self._rms_norm = library.rewardd_rms_norm
            self._rotate = library.rewardd_rotate
            self._gate = library.rewardd_gate
            self.lanes = int(library.rewardd_lanes())
            self.most_dim = int(library.rewardd_most_dim())
        except (OSError, AttributeError) as error:
            raise CannotCompile(f"{path} can't be loaded: {error}") from error
        on: list[Any] = [c_void_p, c_int64]  # what starts a function on threads, and how many
        self._attention.argtypes = [POINTER(Call)]
        self._rms_norm.argtypes = [c_void_p, c_int64, c_void_p, c_float, c_void_p, *_SIZES[:2], *on]
        self._rotate.argtypes = [c_void_p, c_int64, c_void_p, c_void_p, *_SIZES, *on]
        self._gate.argtypes = [c_void_p, c_void_p, *_SIZES[:2], *on]
        for function in (self._attention, self._rms_norm, self._rotate, self._gate):
            function.restype = None

    def attention(
        self,
        query: Tensor,
        sources: Sequence[tuple[Tensor, Tensor]],
        reads: Reads,
        *,
        scale: float,
        window: int | None = None,
    ) -> Tensor:
        """Attention of the rows of a query over chains of keys and values.

        Args:
            query: (1, heads, rows, head_dim).
            sources: where keys and values lie, each (1, key_value_heads, tokens, head_dim).
            reads: which rows read what.
            scale: factor on the dot products.
            window: a row sees its own position and the `window - 1` before it; None for all.

        Returns:
            (1, rows, heads, head_dim).
        """
        heads, rows, dim = query.shape[1:]
        key_value_heads = sources[0][0].shape[1]
        out = torch.empty(1, rows, heads, dim)
        lie = (Source * len(sources))(*(_source(key, value) for key, value in sources))
        call = Call(
            *(query.data_ptr(), query.stride(2), query.stride(1)),
            *(out.data_ptr(), out.stride(1), out.stride(2), reads.positions.ctypes.data),
            *(ctypes.addressof(lie), reads.pieces.ctypes.data, reads.blocks.ctypes.data),
            *(len(reads.blocks), key_value_heads, heads // key_value_heads, dim, window or 0),
            *(scale, self._parallel, torch.get_num_threads()),
        )
        self._attention(ctypes.byref(call))
        return out

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Root mean square normalisation: x / √(mean(x²) + ε) · weight, (rows, hidden)."""
        out = torch.empty(x.shape)
        rows, width = x.shape
        self._rms_norm(
            *(x.data_ptr(), x.stride(0), weight.data_ptr(), epsilon, out.data_ptr(), rows, width),
            *(self._parallel, torch.get_num_threads()),
        )
        return out

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotary position embedding in place: x·cos + rotate_half(x)·sin.

        Args:
            x: (rows, heads · head_dim).
            cos: (rows, head_dim), both halves equal.
            sin: likewise, in the same strides.
        """
        dim = cos.shape[1]
        self._rotate(
            *(x.data_ptr(), x.stride(0), cos.data_ptr(), sin.data_ptr(), cos.stride(0)),
            *(len(x), x.shape[1] // dim, dim, self._parallel, torch.get_num_threads()),
        )

    def gate(self, gate: Tensor, up: Tensor) -> None:
        """silu(gate) · up in the place of `gate`; both (rows, features), contiguous."""
        self._gate(
            *(gate.data_ptr(), up.data_ptr(), *gate.shape),
            *(self._parallel, torch.get_num_threads()),
        )


def _source(key: Tensor, value: Tensor) -> Source:
    return Source(
        *(key.data_ptr(), value.data_ptr()),
        *(key.stride(2), key.stride(1), value.stride(2), value.stride(1)),
    )


def _start_on_threads() -> int:
    """The address of what starts a function on the threads that torch computes on.

    Raises:
        CannotCompile: torch was built without OpenMP.
    """
    try:
        address = ctypes.cast(CDLL(None).GOMP_parallel, c_void_p).value
    except (OSError, AttributeError, TypeError):
        address = None
    if address is None:
        raise CannotCompile("torch's threads can't be reached, as it was built without OpenMP")
    return address
