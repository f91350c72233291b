"""Requests that offer another protocol, read on in this one.

Whoever doesn't take the offer answers as if it weren't there (RFC 9110, 7.8), and Java's client
makes it with every request. The parser stops at the headers' end instead, and would read the body
as the next request: so a parser of its own reads the body.
"""

from typing import Protocol

import httptools

_FRAMING = (b"content-length", b"transfer-encoding")


class Heard(Protocol):
    """What hears a parser."""

    def on_message_begin(self) -> None:
        """A request begins."""

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer."""

    def on_headers_complete(self) -> None:
        """The headers are there in full."""

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""

    def on_message_complete(self) -> None:
        """The request is there in full."""


def has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request with these headers, their names in lower case, is followed by a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0") != b"")
        for name, value in headers
    )


def parser_from_body_on(
    heard_by: Heard, headers: list[tuple[bytes, bytes]]
) -> httptools.HttpRequestParser:
    """A parser that stands where these headers end.

    Args:
        heard_by: what hears of the body and of the requests behind it.
        headers: of the request, their names in lower case.

    Raises:
        httptools.HttpParserError: they don't say where the body ends.
    """
    late = _Late(heard_by)
    parser = httptools.HttpRequestParser(late)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
    framing = [b"%b: %b\r\n" % pair for pair in headers if pair[0] in _FRAMING]
    parser.feed_data(b"".join((b"POST / HTTP/1.1\r\n", *framing, b"\r\n")))
    late.listens = True
    return parser


class _Late:
    """Hears nothing of the headers that were heard before."""

    def __init__(self, heard_by: Heard) -> None:
        self._heard_by = heard_by
        self.listens = False
        self.on_body = heard_by.on_body
        self.on_message_complete = heard_by.on_message_complete

    def on_message_begin(self) -> None:
        if self.listens:
            self._heard_by.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.listens:
            self._heard_by.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.listens:
            self._heard_by.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.listens:
            self._heard_by.on_headers_complete()
