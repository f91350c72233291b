"""Where every thread of the process is."""

import sys
import threading
from types import FrameType

_MAX_FRAMES = 40


def stacks() -> dict[str, list[str]]:
    """Each thread's frames by its name, "module:function:line", innermost last; no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, 'unknown')} ({ident})": _frames(frame)
        for ident, frame in sys._current_frames().items()
    }


def _frames(frame: FrameType | None) -> list[str]:
    found: list[str] = []
    while frame is not None and len(found) < _MAX_FRAMES:
        module = frame.f_globals.get("__name__", "?")
        found.append(f"{module}:{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return found[::-1]
