"""What a Llama-shaped layer does beside its products and attention, by torch or by our own code.

Torch takes several passes over memory for each step, ours one: at small widths, where products are
short, that is a tenth of a layer's time.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from rm_core.engine.elementwise import in_whole_vectors
from rm_core.engine.native import NativeLibrary


class Elementwise(Protocol):
    """The steps of a layer that take each row by itself."""

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """Root mean square normalisation: x / √(mean(x²) + ε) · weight, (rows, hidden).

        Source: Zhang and Sennrich 2019, arXiv:1910.07467, as transformers' Llama computes it.
        """
        ...

    def rotate(self, flat: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotary position embedding in place: x·cos + rotate_half(x)·sin.

        Source: Su et al. 2021, arXiv:2104.09864, in the layout of transformers' Llama.

        Args:
            flat: (rows, heads · head_dim).
            cos: (rows, head_dim), both halves equal.
            sin: likewise.
        """
        ...

    def gate(self, function: Any, gate: Tensor, up: Tensor) -> Tensor:
        """function(gate) · up, (rows, features), in the place of `gate` where that can be."""
        ...


class TorchElementwise:
    """By torch's operations, in place where possible."""

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """See `Elementwise`; in three passes over x."""
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        return torch.mul(x, scale).mul_(weight)

    def rotate(self, flat: Tensor, cos: Tensor, sin: Tensor) -> None:
        """See `Elementwise`."""
        x, half = flat.view(len(flat), -1, cos.shape[1]), cos.shape[1] // 2
        first, second = x[..., :half], x[..., half:]
        cos, sin = cos[:, None, :half], sin[:, None, :half]
        turned = first * sin
        # Not by `addcmul_`, which rounds by vector instructions in another way than without.
        first.mul_(cos).sub_(second * sin)
        second.mul_(cos).add_(turned)

    def gate(self, function: Any, gate: Tensor, up: Tensor) -> Tensor:
        """See `Elementwise`."""
        if _is_silu(function):
            in_whole_vectors(lambda part: nn.functional.silu(part, inplace=True), gate)
        else:
            in_whole_vectors(lambda part: part.copy_(function(part)), gate)
        return gate.mul_(up)


class NativeElementwise(TorchElementwise):
    """By our own compiled code, for float32 on the CPU; without gradients.

    Args:
        native: the compiled functions.
    """

    def __init__(self, native: NativeLibrary) -> None:
        self._native = native

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """See `Elementwise`."""
        return self._native.rms_norm(x, weight, epsilon)

    def rotate(self, flat: Tensor, cos: Tensor, sin: Tensor) -> None:
        """See `Elementwise`."""
        self._native.rotate(flat, cos, sin)

    def gate(self, function: Any, gate: Tensor, up: Tensor) -> Tensor:
        """See `Elementwise`; by torch for other functions than SiLU."""
        if not (_is_silu(function) and gate.is_contiguous() and up.is_contiguous()):
            return super().gate(function, gate, up)
        self._native.gate(gate, up)
        return gate


def is_rms_norm(norm: Any) -> bool:
    """Whether a norm computes what `rms_norm` does; tried out, as its name proves nothing."""
    epsilon = getattr(norm, "variance_epsilon", None)
    if epsilon is None or norm.weight.dtype != torch.float32:
        return False
    x = torch.linspace(-2, 3, norm.weight.numel())[None]
    with torch.inference_mode():
        ours = TorchElementwise().rms_norm(x, norm.weight, epsilon)
        return torch.allclose(norm(x), ours, rtol=1e-5, atol=1e-6)


def _is_silu(function: Any) -> bool:
    return type(function) in {nn.SiLU, SiLUActivation}
