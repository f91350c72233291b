"""What libraries print past the log, as events of the log: every line stays one JSON object.

Descriptors 1 and 2 become pipes that a thread reads, so that C code is heard as well. The log
itself goes straight to what standard error was, and so do faulthandler's tracebacks, by
`sys.stderr`'s `fileno`: they have no time for a pipe.
"""

import contextlib
import fcntl
import io
import logging
import os
import selectors
import sys
import threading
from collections.abc import Iterator
from typing import Literal, TextIO

import structlog

MAX_LINE_BYTES = 4096
"""What is logged of a printed line; of a longer one its end, as that is what bars overwrite."""

_PIPE_BYTES = 1024 * 1024  # so that a burst of C code, which may hold the GIL, finds room
_CHUNK_BYTES = 65_536
_PATIENCE_SECONDS = 1.0  # for the pipe's end, which a child process may hold open

_Stream = Literal["stdout", "stderr"]

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def prints_logged() -> Iterator[None]:
    """Log whatever is printed until the context ends; on a terminal leave prints alone."""
    if sys.stderr.isatty():
        yield
        return
    out, err = sys.stdout, sys.stderr
    out.flush()
    err.flush()
    saved_out, saved_err = os.dup(1), os.dup(2)
    log_to = os.fdopen(os.dup(saved_err), "w", encoding="utf-8", errors="backslashreplace")
    _move_handlers(err, log_to)
    pipes = {_pipe_into(1): _Lines("stdout"), _pipe_into(2): _Lines("stderr")}
    sys.stdout, sys.stderr = _Printing(1, 1), _Printing(2, saved_err)
    reader = threading.Thread(target=_read, args=(pipes,), name="rewardd-prints", daemon=True)
    reader.start()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):  # somebody may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        reader.join(_PATIENCE_SECONDS)
        sys.stdout, sys.stderr = out, err
        _move_handlers(log_to, err)
        log_to.close()
        os.close(saved_out)
        os.close(saved_err)


class _Printing(io.TextIOWrapper):
    """A standard stream that is line by line in the pipe, and names another descriptor.

    Args:
        descriptor: that it writes to.
        named: that `fileno` gives.
    """

    def __init__(self, descriptor: int, named: int) -> None:
        raw = io.FileIO(descriptor, "w", closefd=False)
        super().__init__(
            io.BufferedWriter(raw), "utf-8", errors="backslashreplace", line_buffering=True
        )
        self._named = named

    def fileno(self) -> int:
        """Where faulthandler writes to."""
        return self._named


class _Lines:
    """The lines of one pipe, told as they end."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self._tell(line)
        # A bar that never ends its line must not be kept from its beginning on.
        self._rest = self._rest[-_CHUNK_BYTES:]

    def end(self) -> None:
        self._tell(self._rest)

    def _tell(self, line: bytes) -> None:
        # What a terminal would show in the end of a bar that returns to the line's beginning.
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        text = shown[-MAX_LINE_BYTES:].decode("utf-8", "replace").strip()
        if text:
            tell = _log.info if self._stream == "stdout" else _log.warning
            tell("printed", stream=self._stream, text=text)


def _pipe_into(descriptor: int) -> int:
    """Make a descriptor the writing end of a new pipe, and return the reading end."""
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # the system may allow less
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    os.dup2(writing, descriptor)
    os.close(writing)
    return reading


def _read(pipes: dict[int, _Lines]) -> None:
    with selectors.DefaultSelector() as selector:
        for reading in pipes:
            selector.register(reading, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, _CHUNK_BYTES)
                # Whatever becomes of the event, the pipe is emptied: else prints would block.
                with contextlib.suppress(Exception):
                    pipes[key.fd].add(chunk) if chunk else pipes[key.fd].end()
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)


def _move_handlers(before: TextIO, after: TextIO) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)
