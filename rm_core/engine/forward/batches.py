"""How texts are put together where they aren't packed: padded, by equal length, or one by one."""

from collections.abc import Callable, Sequence
from typing import Literal

from rm_core.types import Encoded

Together = Literal["padded", "equal_lengths", "one_by_one"]
"""What texts of one batch have in common: about the length, the length, or nothing as it is one."""

MAX_PADDING_RATIO = 0.1
"""Padded batches hold at most this share of padding; beyond it another batch is cheaper."""


def batches_of(
    texts: Sequence[Encoded],
    together: Together,
    *,
    counted_token: int | None = None,
    most_padding: float = MAX_PADDING_RATIO,
) -> list[list[int]]:
    """Divide texts into batches.

    Args:
        texts: in any order.
        together: what a batch's texts have in common.
        counted_token: further, as many of this token; None for no such demand.
        most_padding: of a padded batch, as a share of its tokens.

    Returns:
        Indices into `texts`, each exactly once.
    """
    groups: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        count = 0 if counted_token is None else text.input_ids.count(counted_token)
        groups.setdefault(count, []).append(index)
    divide: dict[Together, Callable[[list[int]], list[list[int]]]] = {
        "padded": lambda lengths: padded_batches(lengths, most_padding=most_padding),
        "equal_lengths": _equal_batches,
        "one_by_one": lambda lengths: [[index] for index in range(len(lengths))],
    }
    return [
        [group[index] for index in batch]
        for group in groups.values()
        for batch in divide[together]([texts[index].num_tokens for index in group])
    ]


def padded_batches(
    lengths: Sequence[int], *, most_padding: float = MAX_PADDING_RATIO
) -> list[list[int]]:
    """Group texts of similar length, so that little is padding.

    Args:
        lengths: in tokens.
        most_padding: of a batch, as a share of its tokens.

    Returns:
        Indices into `lengths`, each exactly once, longest batch first.
    """
    batches: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        current = batches[-1] if batches else []
        longest = lengths[current[0]] if current else 0
        total = longest * (len(current) + 1)
        if current and real + lengths[index] >= (1 - most_padding) * total:
            current.append(index)
            real += lengths[index]
        else:
            batches.append([index])
            real = lengths[index]
    return batches


def _equal_batches(lengths: Sequence[int]) -> list[list[int]]:
    batches: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        batches.setdefault(length, []).append(index)
    return list(batches.values())
