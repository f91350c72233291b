"""What a caller may ask of an engine beside its models and where they run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rm_core.types import AttentionChoice, DType

DEFAULT_REWARD_CACHE_BYTES = 64 * 2**20
"""Holds the rewards of some 90,000 texts by two models."""
Products = Literal["auto", "mkl", "onednn"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How models are run.

    Attributes:
        dtype: of the trunk; "auto" is bfloat16 on CUDA and float32 on the CPU. Where another is
            asked for on the CPU, the rewards' error is measured while loading.
        deterministic: whether a text gets the same bits in any company, on one machine.
        compile_layers: whether torch compiles the layers of decoders, which takes a while at the
            start; for CUDA, and not with `deterministic`.
        attention: what computes attention, norms, rotations and activations of float32 decoders on
            the CPU: our own code, compiled while loading ("native"), or torch's kernels; "auto"
            takes the first where a C++ compiler is installed.
        reward_cache_bytes: what rewards of scored texts may take, so that a text which comes again
            costs a look-up; 0 keeps none.
        prefix_cache_bytes: what keys and values of texts' beginnings may take, of all trunks
            together, so that they are not computed again; 0 keeps none. None on the CPU for a
            twentieth of the memory that is free, at most 1 GiB; on CUDA for none.
        products: the library that multiplies matrices on the CPU: "mkl" stands for torch's own way
            (MKL on x86), "onednn" for oneDNN; "auto" times both on the model's layers.
        products_file: where what was timed is kept for the next loading; None for nowhere.
    """

    dtype: DType = "auto"
    deterministic: bool = False
    compile_layers: bool = False
    attention: AttentionChoice = "auto"
    reward_cache_bytes: int = DEFAULT_REWARD_CACHE_BYTES
    prefix_cache_bytes: int | None = None
    products: Products = "auto"
    products_file: Path | None = None


AS_LOADED = EngineOptions()
"""Nothing asked for: each model in the way that suits its device."""
