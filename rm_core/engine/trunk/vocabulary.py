"""Which token ids a model's embedding has rows for, and which of them may fill a batch."""

from typing import Any

from torch import nn


def embedding_rows(model: Any) -> int | None:
    """How many token ids the model knows; None for one that hashes ids, as CANINE does."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        return None
    rows = getattr(table, "num_embeddings", None)
    if rows is None and isinstance(table, nn.Module):
        weight = getattr(table, "weight", None)
        rows = None if weight is None else weight.shape[0]
    return None if rows is None else int(rows)


def vocabulary_size(model: Any) -> int:
    """Ids from 0 to less than this can be given to the model."""
    rows = embedding_rows(model)
    if rows is not None:
        return rows
    return int(getattr(model.config.get_text_config(), "vocab_size", None) or 256)


def end_token(model: Any) -> int | None:
    """The id of the model's end-of-text token; None where it names none that it knows."""
    named = getattr(model.config.get_text_config(), "eos_token_id", None)
    ids = named if isinstance(named, list | tuple) else [named]
    size = vocabulary_size(model)
    return next((int(i) for i in ids if i is not None and 0 <= i < size), None)


def filler_token(model: Any) -> int:
    """The id that fills the rows of a batch up: masked, so it only has to be a known one.

    The model's pad token where it knows it. Some configurations name none, or one outside the
    embedding: −1, or a token that was added to the tokenizer alone. End-of-text is left out, as
    models that read there count its tokens.
    """
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    end, size = end_token(model), vocabulary_size(model)
    if pad is not None and 0 <= pad < size and pad != end:
        return int(pad)
    return next((i for i in range(size) if i != end), 0)


def special_tokens(model: Any) -> set[int]:
    """The ids that the configuration gives a meaning of their own."""
    config = model.config.get_text_config()
    names = (name for name in vars(config) if name.endswith("_token_id"))
    found: set[int] = set()
    for name in names:
        value = getattr(config, name)
        found.update(value if isinstance(value, list | tuple) else [value] if value else [])
    return found | {0}
