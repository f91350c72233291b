"""Pad tokens that a model doesn't know: added to the tokenizer and the configuration alone."""

import json
from pathlib import Path
from typing import Any


def without_unknown_pad(directory: Path) -> dict[str, Any]:
    """What to give transformers, so that it builds a model whose pad token has no embedding.

    Transformers makes the pad token's row of the embedding a row of zeros, and raises where there
    is none. No text of the model can hold such a token, so that without it every reward is the
    same: the last token is read, and what fills a batch up is chosen by the engine.

    Args:
        directory: of the checkpoint.

    Returns:
        Options for `from_pretrained`; none where the pad token is known, or nothing can be told.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        pad, rows = config.get("pad_token_id"), config.get("vocab_size")
    except (OSError, ValueError, AttributeError):
        return {}  # said of it elsewhere
    known = not (isinstance(pad, int) and isinstance(rows, int)) or pad < rows
    return {} if known else {"pad_token_id": None}
