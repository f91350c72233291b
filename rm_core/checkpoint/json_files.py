"""A checkpoint's JSON files and other people's errors, each told in one sentence."""

import json
from pathlib import Path
from typing import Any

from rm_core.checkpoint.regular_files import read_small
from rm_core.errors import CheckpointError

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Most bytes of a configuration or of an index of shards; those of huge models have 10 MiB."""
MAX_QUOTED = 300
"""Characters that are told of another library's message."""


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: it can't be read, or holds something else.
        UnsafeCheckpoint: it is no regular file.
    """
    try:
        content = read_small(path)
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"it has more than {MAX_JSON_BYTES >> 20} MiB")
        value = json.loads(content.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return value


def in_short(error: BaseException) -> str:
    """Another library's error, many of which go over screens, as part of a sentence of ours."""
    words = " ".join(str(error).split())
    if len(words) > MAX_QUOTED:
        words = f"{words[:MAX_QUOTED].rstrip()} …"
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
