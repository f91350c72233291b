"""What is answered to bytes that are no request: a problem document, and the connection ends."""

from dataclasses import dataclass
from http import HTTPStatus

import orjson

from service.problems import PROBLEM_MEDIA_TYPE, Problem


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that needs no application.

    Attributes:
        status: HTTP status code.
        headers: names in lower case, and values.
        body: the problem document.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def as_bytes(self) -> bytes:
        """The whole reply as it goes over the wire."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode())]
        lines += [b"%s: %s" % pair for pair in self.headers]
        return b"\r\n".join((*lines, b"", self.body))


def refusal(problem: Problem) -> Refusal:
    """A problem as the last reply of a connection."""
    body = orjson.dumps(problem.as_json())
    headers = {
        "content-type": PROBLEM_MEDIA_TYPE,
        "content-length": str(len(body)),
        "connection": "close",
        **problem.headers,
    }
    pairs = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return Refusal(problem.status, pairs, body)


def malformed() -> Refusal:
    """The bytes are not HTTP/1.1."""
    return refusal(Problem(400, "malformed_request", "The bytes are not an HTTP/1.1 request."))


def url_too_long(most: int) -> Refusal:
    """The request's target has more than `most` bytes."""
    return refusal(
        Problem(414, "url_too_long", f"The URL is longer than {most} bytes; shorten its query.")
    )


def headers_too_large(most_bytes: int, most_fields: int) -> Refusal:
    """The headers are more than may be."""
    detail = f"The headers take more than {most_bytes} bytes, or are more than {most_fields}."
    return refusal(Problem(431, "headers_too_large", f"{detail} Send fewer and shorter ones."))


def framing_too_large(most: int) -> Refusal:
    """Chunk extensions and trailers are more than `most` bytes."""
    detail = f"Chunk extensions and trailers take more than {most} bytes; send plain chunks."
    return refusal(Problem(400, "framing_too_large", detail))


def chunks_too_small() -> Refusal:
    """The body comes in too many too small chunks."""
    detail = "The body comes in too many small chunks; send larger ones, or a Content-Length."
    return refusal(Problem(400, "chunks_too_small", detail))


def headers_timeout(seconds: float) -> Refusal:
    """The headers took too long."""
    detail = f"The request's headers did not arrive within {seconds:g} s."
    return refusal(Problem(408, "headers_timeout", detail))


def body_stalled(seconds: float) -> Refusal:
    """Nothing of the body came for too long."""
    detail = f"Nothing of the body arrived for {seconds:g} s; send it again."
    return refusal(Problem(408, "body_timeout", detail))


def too_many_connections() -> Refusal:
    """There is no place for another connection."""
    return refusal(
        Problem(
            503,
            "too_many_connections",
            "All connections are taken; try again in 1 s, and use fewer.",
            headers={"retry-after": "1"},
        )
    )
