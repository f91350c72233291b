"""Random trees, attention by its definition, and a stand-in for the CUDA kernel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from rm_core.engine.attention.kept import KeptRun, LayerRuns
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


@dataclass(frozen=True, slots=True)
class WarmPack:
    """A pack of which a cache holds some beginnings.

    Attributes:
        sequences: that it was planned from.
        reads: of each, positions in it, its own first.
        cached: of each, where the cache's runs end.
        pack: the plan.
    """

    sequences: list[list[int]]
    reads: list[list[int]]
    cached: list[list[int]]
    pack: Pack

    def tensors(self, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of the row: each token's are functions of what stands up to it."""
        rows = [
            _drawn(self._path(owner, at), heads, kv_heads)
            for segment, owner in zip(self.pack.segments, self.pack.owners, strict=True)
            for at in range(segment.position, segment.position + segment.end - segment.start)
        ]
        query, key, value = (torch.stack(each, dim=1)[None] for each in zip(*rows, strict=True))
        return query, key, value

    def kept(self, heads: int, kv_heads: int) -> tuple[KeptRun | None, ...]:
        """What the cache holds of one layer, by segment."""
        runs: list[KeptRun | None] = []
        for segment, owner in zip(self.pack.segments, self.pack.owners, strict=True):
            places = range(segment.position, segment.position + segment.kept)
            drawn = [_drawn(self._path(owner, at), heads, kv_heads) for at in places]
            keys, values = ([each[i] for each in drawn] for i in (1, 2))
            runs.append(
                KeptRun((torch.stack(keys),), (torch.stack(values),)) if segment.kept else None
            )
        return tuple(runs)

    def kept_runs(self, heads: int, kv_heads: int) -> LayerRuns:
        """What the cache holds of the layer, as a kernel takes it."""
        runs = enumerate(self.kept(heads, kv_heads))
        return {i: run.of_layer(0) for i, run in runs if run is not None}

    def alone(
        self,
        heads: int,
        kv_heads: int,
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:
        """Attention of every row by its definition, its sequence alone, (1, tokens, heads, …)."""
        outs = []
        for segment, owner in zip(self.pack.segments, self.pack.owners, strict=True):
            count = segment.end - segment.start
            if not count:
                continue
            end = segment.position + count
            alone = plan_pack([self.sequences[owner][:end]], [end - 1])
            drawn = [_drawn(self._path(owner, at), heads, kv_heads) for at in range(end)]
            rows = (torch.stack(each, dim=1)[None].double() for each in zip(*drawn, strict=True))
            out = dense_attention(*rows, alone, scale=scale, window=window, softcap=softcap)
            outs.append(out[:, segment.position :].float())
        return torch.cat(outs, dim=1)

    def _path(self, owner: int, at: int) -> tuple[int, ...]:
        return tuple(self.sequences[owner][: at + 1])


def _drawn(path: Sequence[int], heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of the last token of a path, (heads, 8) each."""
    generator = torch.Generator().manual_seed(hash((path, heads, kv_heads)) % 2**32)
    drawn = [torch.randn(h, 8, generator=generator) for h in (heads, kv_heads, kv_heads)]
    return drawn[0] * 3, drawn[1], drawn[2]


@st.composite
def warm_packs(draw: st.DrawFn) -> WarmPack:
    """Random families of which some members, or beginnings of members, were cached before."""
    ids = st.lists(st.integers(0, 1), min_size=1, max_size=10)
    sequences = draw(st.lists(ids, min_size=1, max_size=2))
    for _ in range(draw(st.integers(0, 7))):
        base = draw(st.sampled_from(sequences))
        sequences.append(base[: draw(st.integers(0, len(base)))] + draw(ids))
    known = draw(st.lists(st.sampled_from(sequences), max_size=3))
    salt, often = draw(st.integers(0, 99)), draw(st.sampled_from([1, 3, 100]))

    def runs(sequence: list[int]) -> list[int]:
        """Where a cache that cuts at places of its own has runs of a sequence end."""
        held = max((_common(sequence, text) for text in known), default=0)
        cuts = [at for at in range(1, held) if hash((salt, *sequence[:at])) % often == 0]
        return [*cuts, held] if held else []

    places = [st.integers(0, len(sequence) - 1) for sequence in sequences]
    reads = [
        [len(sequence) - 1, *draw(st.lists(place, max_size=1))]
        for sequence, place in zip(sequences, places, strict=True)
    ]
    cached = [runs(sequence) for sequence in sequences]
    pack = plan_pack(
        sequences,
        [own[0] for own in reads],
        extra_positions=[own[1:] for own in reads],
        min_shared_tokens=draw(st.integers(1, 3)),
        cached=cached,
    )
    return WarmPack(sequences, reads, cached, pack)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


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
