"""The backward pass of attention whose forward was computed in parts.

Softmax over a union of key sets is the average of the parts weighted by exp(lse). Its gradient is a
sum over the parts as well: with P = exp(s − lse) the probabilities of a part's keys under the
*whole* log-sum-exp, and D = Σ grad·out of the *whole* row,

    dv = Pᵀ·grad,   ds = P∘(grad·vᵀ − D),   dq = scale·ds·k,   dk = scale·dsᵀ·q

which is what a flash kernel's backward computes for the keys that it is given, from the `out` and
`lse` that it is given. So each part's own backward, called with the merged out and lse of its rows,
gives that part's exact share. Source: FlashAttention (Dao et al. 2022, arXiv:2205.14135, §B.2);
used so over devices by ring attention (Liu et al. 2023, arXiv:2310.01889).
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class PartwiseAttention(Protocol):
    """Attention over a tree that knows its log-sum-exp and its gradients."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Attention and the log-sum-exp of its rows."""
        ...

    def backward(
        self, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value, from that of `out`."""
        ...


def differentiable(
    attention: PartwiseAttention, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Attention with gradients where they are wanted, and without their cost where not.

    Args:
        attention: what computes it.
        query: as `attention` takes it.
        key: likewise.
        value: likewise.
    """
    if torch.is_grad_enabled() and (
        query.requires_grad or key.requires_grad or value.requires_grad
    ):
        out: Tensor = _Partwise.apply(query, key, value, attention)  # type: ignore[no-untyped-call]
        return out
    return attention.forward(query, key, value)[0]


class _Partwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, attention: PartwiseAttention
    ) -> Tensor:
        out, lse = attention.forward(query, key, value)
        ctx.attention = attention
        ctx.save_for_backward(query, key, value, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        return (*ctx.attention.backward(grad, *ctx.saved_tensors), None)
