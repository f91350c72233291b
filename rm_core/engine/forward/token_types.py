"""The segments of texts that are read as pairs, as a model is given them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rm_core.types import Encoded


def padded_token_types(texts: Sequence[Encoded]) -> dict[str, Tensor]:
    """The argument for texts padded on the right; none where all are of one segment.

    Returns:
        token_type_ids, (texts, longest), int64.
    """
    if not any(text.token_types for text in texts):
        return {}
    longest = max(text.num_tokens for text in texts)
    types = torch.zeros((len(texts), longest), dtype=torch.long)
    for row, text in enumerate(texts):
        types[row, : len(text.token_types)] = torch.tensor(text.token_types)
    return {"token_type_ids": types}


def row_token_types(texts: Sequence[Encoded]) -> Tensor:
    """The segments of texts laid end to end, (1, tokens), int64."""
    each = [text.token_types or (0,) * text.num_tokens for text in texts]
    return torch.tensor([[kind for own in each for kind in own]])
