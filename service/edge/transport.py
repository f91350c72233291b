"""The transport that uvicorn writes to: closing it lets the peer read the last reply first."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


class LingeringTransport:
    """A transport whose closing is its protocol's to carry out.

    Closing a socket while its peer still sends makes the kernel reset the connection, and the peer
    may lose the reply that says what was wrong. So a reply that comes before its request's end is
    followed by the end of our side alone, and by a while of throwing away what still arrives.

    Args:
        transport: the loop's own.
        finish: called once, at the first `close`.
        read_again: called when the application wants to read, and when it doesn't.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        finish: Callable[[], None],
        wants_more: Callable[[bool], None],
    ) -> None:
        self._transport = transport
        self._finish = finish
        self._wants_more = wants_more
        self._closing = False
        # uvicorn calls it for every piece of every reply.
        self.write = transport.write

    def close(self) -> None:
        """Send what was written, then end the connection."""
        if not self._closing:
            self._closing = True
            self._finish()

    def is_closing(self) -> bool:
        """Whether nothing more is to be written."""
        return self._closing or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the loop knows of the socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Leave what arrives to the kernel, and its sender waiting."""
        if not self._closing:
            self._transport.pause_reading()
            self._wants_more(False)

    def resume_reading(self) -> None:
        """Take what arrives again."""
        if not self._closing:
            self._transport.resume_reading()
            self._wants_more(True)

    def end_writing(self) -> None:
        """Tell the peer that nothing more comes, and take what it still sends."""
        with contextlib.suppress(OSError, RuntimeError):  # it was faster, and is gone
            self._transport.write_eof()
            self._transport.resume_reading()

    def close_now(self) -> None:
        """Close as soon as the peer has taken what was written."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection with what was written."""
        self._closing = True
        self._transport.abort()

    def unread_bytes(self) -> int:
        """What was written and not yet taken by the peer's side."""
        return self._transport.get_write_buffer_size()
