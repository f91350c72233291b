"""Pairwise rewards of tokens: the better response ahead from the first token that tells them apart.

Both responses continue one prompt, so a position in one stands at the same distance from it in the
other. Tokens are compared from the first that differs, where the responses part, to the end of the
shorter one: behind it there is nothing to compare with.
"""

from collections.abc import Sequence
from itertools import zip_longest

from torch import Tensor

from training.losses.pairwise import bradley_terry_terms
from training.losses.shapes import means_of_runs, require_vectors


def compared_positions(
    chosen: Sequence[int], rejected: Sequence[int], *, chosen_end: int, rejected_end: int
) -> list[tuple[int, int]]:
    """Which positions of two sequences are compared.

    From the first different token to the last of the shorter, position by position; then the two
    ends, where a served reward is read, unless that pair is there already. Where one sequence
    begins the other, no token of the shorter differs and the ends alone are compared.

    Args:
        chosen: token ids of the preferred response, its prompt's in front.
        rejected: of the other.
        chosen_end: where the preferred response's reward is read; nothing behind it counts.
        rejected_end: likewise.

    Returns:
        Positions (in chosen, in rejected), ascending, at least one.
    """
    own, other = chosen[: chosen_end + 1], rejected[: rejected_end + 1]
    shorter = min(len(own), len(other))
    first = next((i for i, (a, b) in enumerate(zip_longest(own, other)) if a != b), shorter)
    positions = [(position, position) for position in range(first, shorter)]
    ends = (chosen_end, rejected_end)
    return positions if ends in positions else [*positions, ends]


def token_terms(
    chosen: Tensor, rejected: Tensor, counts: Tensor, margin: Tensor | float = 0.0
) -> Tensor:
    """Each pair's mean of −log σ(chosen − rejected − margin) over its compared tokens.

    Every pair weighs the same however long it is.

    Args:
        chosen: rewards of tokens of preferred responses, pair after pair, (tokens,).
        rejected: rewards of the tokens that they are compared with, (tokens,).
        counts: how many of the tokens are each pair's, (pairs,), int64, each at least 1.
        margin: gap that is asked for at every token; a number or (pairs,).

    Source: DeepSpeed-Chat's reward model (arXiv 2308.01320), which also compares padding behind the
    shorter response; here each response counts to its own end.
    """
    if isinstance(margin, Tensor):
        require_vectors("margin and counts", margin, counts)
        margin = margin.repeat_interleave(counts)
    return means_of_runs(bradley_terry_terms(chosen, rejected, margin), counts)
