"""Comparisons to tensors: what is read of each response, and what is known of what was read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from rm_core.checkpoint.manifest import HeadKind
from rm_core.text.positions import response_positions
from rm_core.types import Encoded
from training.batches.padded import BatchLayout
from training.data.examples import EncodedExample, Pair
from training.losses import compared_positions, targets_of
from training.types import PairWeighting, Target


def reads_of(
    example: EncodedExample, head: HeadKind, targets: frozenset[Target]
) -> list[list[int]]:
    """Which positions of each response are read, ascending.

    Args:
        example: the responses.
        head: "last_token" reads where the reward is served, "mean" all of the response.
        targets: what else a "per_token" head is trained on: "tokens" adds the tokens that pairs
            compare, "steps" the last tokens of labelled steps.
    """
    if head == "mean":
        return [list(response_positions(encoded)) for encoded in example.encoded]
    reads = [{encoded.read_position} for encoded in example.encoded]
    if "tokens" in targets:
        for pair in example.pairs:
            for own, other in _compared(example, pair):
                reads[pair.chosen].add(own)
                reads[pair.rejected].add(other)
    if "steps" in targets:
        for own_reads, steps in zip(reads, example.step_targets, strict=False):
            own_reads.update(step.position for step in steps)
    return [sorted(own) for own in reads]


@dataclass(frozen=True, slots=True)
class ExampleCollator:
    """Makes one batch of several prompts' examples.

    Beside what the layout needs the batch holds `num_tokens`, an int, of all responses with their
    prompts, and indices into all its responses or all its reads:

    - `read_counts` (responses,) and `read_share` (reads,): how many reads are each response's, and
      by how much each counts in its reward; `response_weight` (responses,): 0 for fillers, else 1
    - `chosen`, `rejected`, `margin`, `weight` (pairs,), and `pair_counts` (examples with pairs,)
    - `places`, `listed`, `ranks` (rankings, most responses), if rankings are a target
    - `rated`, `rating` (rated responses,), if ratings are
    - `token_chosen`, `token_rejected` (compared tokens,), `token_counts` (pairs,), if tokens are
    - `step_read`, `step_label` (steps,), if steps are
    - `labelled`, `is_safe` (labelled responses,), if safety labels are

    Attributes:
        layout: how the responses go through the model.
        objectives: the weighted set that is trained on.
        pair_weighting: weight 1 for each pair, or 1 shared by the pairs of a prompt.
        head: which positions a response's reward is read at.
    """

    layout: BatchLayout
    objectives: Mapping[str, float]
    pair_weighting: PairWeighting
    head: HeadKind = "last_token"

    def __call__(self, examples: Sequence[EncodedExample]) -> dict[str, Any]:
        """Stack examples; every response stands once, whatever is known of it."""
        targets = targets_of(self.objectives)
        laid_out = _LaidOut.of(examples, self.head, targets)
        batch = {
            **self.layout.collate(laid_out.encoded, laid_out.reads),
            "num_tokens": sum(encoded.num_tokens for encoded in laid_out.encoded),
            **_shares(laid_out, self.head),
            **_pairs(laid_out, self.pair_weighting),
        }
        for target, tensors in _OF_TARGET.items():
            if target in targets:
                batch |= tensors(laid_out)
        return batch


@dataclass(frozen=True, slots=True)
class _LaidOut:
    """The responses of a batch end to end.

    Attributes:
        examples: in order.
        starts: index of each example's first response.
        encoded: all responses.
        reads: positions read in each.
        read_index: of each response, where in the batch's reads a position stands.
    """

    examples: Sequence[EncodedExample]
    starts: Sequence[int]
    encoded: Sequence[Encoded]
    reads: Sequence[Sequence[int]]
    read_index: Sequence[Mapping[int, int]] = field(default=())

    @classmethod
    def of(
        cls, examples: Sequence[EncodedExample], head: HeadKind, targets: frozenset[Target]
    ) -> "_LaidOut":
        reads = [own for c in examples for own in reads_of(c, head, targets)]
        first_reads = accumulate((len(own) for own in reads), initial=0)
        return cls(
            examples,
            list(accumulate((len(c.encoded) for c in examples), initial=0))[:-1],
            [encoded for c in examples for encoded in c.encoded],
            reads,
            [
                {position: first + index for index, position in enumerate(own)}
                for own, first in zip(reads, first_reads, strict=False)
            ],
        )


def _shares(laid_out: _LaidOut, head: HeadKind) -> dict[str, Tensor]:
    shares: list[float] = []
    for encoded, own in zip(laid_out.encoded, laid_out.reads, strict=True):
        if head == "mean":
            shares += [1 / len(own)] * len(own)
        else:
            shares += [float(position == encoded.read_position) for position in own]
    weights = [float(c.has_targets) for c in laid_out.examples for _ in c.encoded]
    return {
        "read_counts": _whole([len(own) for own in laid_out.reads]),
        "read_share": _real(shares),
        "response_weight": _real(weights),
    }


def _pairs(laid_out: _LaidOut, weighting: PairWeighting) -> dict[str, Tensor]:
    chosen, rejected, margin, weight, counts = [], [], [], [], []
    for example, start in zip(laid_out.examples, laid_out.starts, strict=True):
        number = len(example.pairs)
        counts += [number] if number else []
        for pair in example.pairs:
            chosen.append(start + pair.chosen)
            rejected.append(start + pair.rejected)
            margin.append(pair.margin)
            weight.append(1 / number if weighting == "prompt" else 1.0)
    return {
        "chosen": _whole(chosen),
        "rejected": _whole(rejected),
        "margin": _real(margin),
        "weight": _real(weight),
        "pair_counts": _whole(counts),
    }


def _rankings(laid_out: _LaidOut) -> dict[str, Tensor]:
    ranked = [
        (example.ranking, start)
        for example, start in zip(laid_out.examples, laid_out.starts, strict=True)
        if example.pairs and example.ranking
    ]
    longest = max((len(ranks) for ranks, _ in ranked), default=1)
    places = torch.zeros(len(ranked), longest, dtype=torch.long)
    listed = torch.zeros(len(ranked), longest, dtype=torch.bool)
    padded = torch.zeros(len(ranked), longest, dtype=torch.long)
    for row, (ranks, start) in enumerate(ranked):
        places[row, : len(ranks)] = torch.arange(start, start + len(ranks))
        listed[row, : len(ranks)] = True
        padded[row, : len(ranks)] = _whole(ranks)
    return {"places": places, "listed": listed, "ranks": padded}


def _known(
    laid_out: _LaidOut, values_of: Callable[[EncodedExample], Sequence[float | None]]
) -> tuple[Tensor, Tensor]:
    """The responses of which somebody said something, and what."""
    known = [
        (start + index, value)
        for example, start in zip(laid_out.examples, laid_out.starts, strict=True)
        for index, value in enumerate(values_of(example))
        if value is not None
    ]
    return _whole([index for index, _ in known]), _real([value for _, value in known])


def _ratings(laid_out: _LaidOut) -> dict[str, Tensor]:
    rated, rating = _known(laid_out, lambda example: example.ratings)
    return {"rated": rated, "rating": rating}


def _labels(laid_out: _LaidOut) -> dict[str, Tensor]:
    labelled, is_safe = _known(laid_out, lambda example: example.is_safe)
    return {"labelled": labelled, "is_safe": is_safe}


def _tokens(laid_out: _LaidOut) -> dict[str, Tensor]:
    chosen, rejected, counts = [], [], []
    for example, start in zip(laid_out.examples, laid_out.starts, strict=True):
        for pair in example.pairs:
            compared = _compared(example, pair)
            own_index = laid_out.read_index[start + pair.chosen]
            other_index = laid_out.read_index[start + pair.rejected]
            chosen += [own_index[own] for own, _ in compared]
            rejected += [other_index[other] for _, other in compared]
            counts.append(len(compared))
    return {
        "token_chosen": _whole(chosen),
        "token_rejected": _whole(rejected),
        "token_counts": _whole(counts),
    }


def _steps(laid_out: _LaidOut) -> dict[str, Tensor]:
    steps = [
        (laid_out.read_index[start + index][step.position], step.label)
        for example, start in zip(laid_out.examples, laid_out.starts, strict=True)
        for index, own in enumerate(example.step_targets)
        for step in own
    ]
    return {
        "step_read": _whole([read for read, _ in steps]),
        "step_label": _real([label for _, label in steps]),
    }


_OF_TARGET = {
    "rankings": _rankings,
    "ratings": _ratings,
    "tokens": _tokens,
    "steps": _steps,
    "is_safe": _labels,
}


def _compared(example: EncodedExample, pair: Pair) -> list[tuple[int, int]]:
    chosen, rejected = example.encoded[pair.chosen], example.encoded[pair.rejected]
    return compared_positions(
        chosen.input_ids,
        rejected.input_ids,
        chosen_end=chosen.read_position,
        rejected_end=rejected.read_position,
    )


def _whole(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


def _real(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
