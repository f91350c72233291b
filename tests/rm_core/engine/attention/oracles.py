"""Random trees, attention by its definition, and a stand-in for the CUDA kernel."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from rm_core.engine.attention.varlen import Saved, VarlenCall
from rm_core.engine.packing.plan import Pack, plan_pack


@st.composite
def trees(draw: st.DrawFn) -> Pack:
    """Random groups, up to four segments deep."""
    ids = st.lists(st.integers(0, 1), min_size=1, max_size=12)
    sequences = draw(st.lists(ids, min_size=1, max_size=2))
    for _ in range(draw(st.integers(0, 9))):
        base = draw(st.sampled_from(sequences))
        sequences.append(base[: draw(st.integers(0, len(base)))] + draw(ids))
    reads = [len(sequence) - 1 for sequence in sequences]
    return plan_pack(sequences, reads, min_shared_tokens=draw(st.integers(1, 3)))


def dense_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pack: Pack,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """One softmax over the whole row under the tree's mask: autograd's gradients are the oracle."""
    repeat = query.shape[1] // key.shape[1]
    k, v = key[0].repeat_interleave(repeat, 0), value[0].repeat_interleave(repeat, 0)
    scores = query[0] @ k.mT * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    seen = torch.zeros(pack.num_tokens, pack.num_tokens, dtype=torch.bool)
    for index, segment in enumerate(pack.segments):
        for ancestor in pack.chain(index):
            above = pack.segments[ancestor]
            seen[segment.start : segment.end, above.start : above.end] = True
    position = torch.from_numpy(pack.position_ids)
    distance = position[:, None] - position[None, :]
    seen &= distance >= 0
    if window:
        seen &= distance < window
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return (weights @ v).transpose(0, 1)[None]


class ReferenceKernel:
    """What torch's variable-length flash attention computes, block by block on the CPU."""

    def forward(
        self, call: VarlenCall, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        outs, lses = [], []
        for rows, keys in _blocks(call):
            scores = _scores(query[rows], key[keys], scale, causal=call.causal)
            v = value[keys].repeat_interleave(query.shape[1] // key.shape[1], 1)
            outs.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
            lses.append(scores.logsumexp(-1).T)
        return torch.cat(outs), torch.cat(lses)

    def backward(
        self, call: VarlenCall, saved: Saved, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """By the formulas of FlashAttention §B.2, from the out and lse that it is given."""
        repeat = query.shape[1] // key.shape[1]
        dqs, dks, dvs = [], [], []
        for rows, keys in _blocks(call):
            scores = _scores(query[rows], key[keys], saved.scale, causal=call.causal)
            k, v = (each[keys].repeat_interleave(repeat, 1) for each in (key, value))
            p = torch.exp(scores - saved.lse[rows].T.unsqueeze(-1))
            grad = saved.grad[rows]
            dvs.append(torch.einsum("hqk,qhd->khd", p, grad))
            d = (grad * saved.out[rows]).sum(-1).T.unsqueeze(-1)
            ds = p * (torch.einsum("qhd,khd->hqk", grad, v) - d) * saved.scale
            dqs.append(torch.einsum("hqk,khd->qhd", ds, k))
            dks.append(torch.einsum("hqk,qhd->khd", ds, query[rows]))
        dk, dv = (
            torch.cat(each).view(-1, key.shape[1], repeat, key.shape[2]).sum(2)
            for each in (dks, dvs)
        )
        return torch.cat(dqs), dk, dv


def _scores(query: Tensor, key: Tensor, scale: float, *, causal: bool) -> Tensor:
    k = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = torch.einsum("qhd,khd->hqk", query, k) * scale
    if causal:
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores


def _blocks(call: VarlenCall) -> list[tuple[slice, slice]]:
    rows, keys = call.row_borders.tolist(), call.key_borders.tolist()
    return [
        (slice(rows[i], rows[i + 1]), slice(keys[i], keys[i + 1])) for i in range(len(rows) - 1)
    ]
