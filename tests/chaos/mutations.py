"""Requests that went wrong: the document's own examples, broken in one or several ways."""

import gzip
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Wire:
    """A request as bytes on a connection, apart enough to be broken.

    Attributes:
        method: of the request line.
        target: of the request line.
        version: of the request line.
        headers: lines, without Content-Length and Host.
        body: what follows.
        framing: lines that tell where the body ends; None: its true Content-Length.
    """

    method: bytes
    target: bytes
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    headers: tuple[bytes, ...] = (b"Content-Type: application/json",)
    framing: tuple[bytes, ...] | None = None

    def encoded(self) -> bytes:
        framing = self.framing
        if framing is None:
            framing = (b"Content-Length: %d" % len(self.body),)
        lines = (b"Host: test", b"Connection: close", *self.headers, *framing)
        first = b" ".join((self.method, self.target, self.version))
        return b"\r\n".join((first, *lines, b"", self.body))


Mutation = Callable[[random.Random, Wire], Wire]

_ODD_VALUES: Sequence[bytes] = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 400,
    b'"\\ud800"',
    b'"\xff\xfe"',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\u0000"',
    b"[" * 3000 + b"]" * 3000,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"-0",
    b"1.0000000000000000000000001",
    b"0x10",
    b"'text'",
    b'{"role":"user","content":[{"type":"image_url","image_url":"http://127.0.0.1:9/"}]}',
)
_ODD_HEADERS: Sequence[bytes] = (
    b"Content-Length: -1",
    b"Content-Length: 5, 5",
    b"Content-Length: +3",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding : chunked",
    b"X-Request-Timeout-Ms: \xb2",
    b"X-Request-Timeout-Ms: -5",
    b"Idempotency-Key: " + b"k" * 300,
    b"Idempotency-Key: \x01",
    b"X-Request-ID: a\x0bb",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate, br",
    b"Content-Type: multipart/form-data; boundary=" + b"-" * 70,
    b"Content-Type: application/x-ndjson",
    b"Content-Type: application/json; charset=utf-16",
    b"Host: evil/health?",
    b"Authorization: Basic !!!!",
    b"Authorization: Bearer \xc3\xa9",
    b"Expect: 100-continue",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Range: bytes=0-0,1-1",
    b"Cookie: " + b"a=b; " * 200,
    b" folded: value",
    b"no colon here",
    b": no name",
    b"Nul: a\x00b",
    b"\xff\xff: x",
)
_ODD_TARGETS: Sequence[bytes] = (
    b"//score",
    b"/score/",
    b"/%2e%2e/score",
    b"/score?reward=%00",
    b"/score?first_index=-1",
    b"/score?first_index=" + b"9" * 40,
    b"http://other/score",
    b"*",
    b"/streams/%ff",
    b"/streams/" + b"a" * 70,
    b"/streams/..%2f..%2fetc",
    b"/v2/models/%00/infer",
    b"/score?stop=" + b"%20" * 100,
    b"/\xff",
    b"",
)


def _value(rng: random.Random, wire: Wire) -> Wire:
    """One value of the JSON body becomes an odd one."""
    try:
        document = json.loads(wire.body)
    except (ValueError, RecursionError):
        return _cut(rng, wire)
    marked = "@@mark@@"
    parent: Any = {"": document}
    place: Any = ""
    while isinstance(parent[place], dict | list) and parent[place] and rng.random() < 0.8:
        parent = parent[place]
        place = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[place] = marked
    text = json.dumps(document if parent[place] is marked and place != "" else marked)
    odd = rng.choice(_ODD_VALUES)
    return replace(wire, body=text.encode().replace(b'"' + marked.encode() + b'"', odd))


def _key(rng: random.Random, wire: Wire) -> Wire:
    """A key is written twice, or another is added."""
    name = rng.choice([b"items", b"prompt", b"response", b"__proto__", b"\\u0000", b"x" * 200])
    return replace(wire, body=b'{"%s":%s,' % (name, rng.choice(_ODD_VALUES)) + wire.body[1:])


def _cut(rng: random.Random, wire: Wire) -> Wire:
    """The body ends early, and says so."""
    return replace(wire, body=wire.body[: rng.randrange(len(wire.body) + 1)])


def _short(rng: random.Random, wire: Wire) -> Wire:
    """The body ends before its Content-Length."""
    framing = (b"Content-Length: %d" % (len(wire.body) + rng.randint(1, 99)),)
    return replace(wire, framing=framing)


def _bytes(rng: random.Random, wire: Wire) -> Wire:
    """Some bytes of the body become others."""
    body = bytearray(wire.body)
    for _ in range(rng.randint(1, 8)):
        if body:
            body[rng.randrange(len(body))] = rng.randrange(256)
    return replace(wire, body=bytes(body))


def _recoded(rng: random.Random, wire: Wire) -> Wire:
    """The body is in another encoding, or compressed."""
    text = wire.body.decode("utf-8", "replace")
    kinds: Sequence[Callable[[], bytes]] = (
        lambda: b"\xef\xbb\xbf" + wire.body,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-32"),
        lambda: gzip.compress(wire.body),
        lambda: gzip.compress(b"[" * 100_000)[: rng.randint(1, 200)],
        lambda: wire.body + b"\x00" * rng.randint(1, 9),
        lambda: wire.body * 2,
    )
    body = rng.choice(kinds)()
    more = (b"Content-Encoding: gzip",) if rng.random() < 0.5 else ()
    return replace(wire, body=body, headers=wire.headers + more)


def _header(rng: random.Random, wire: Wire) -> Wire:
    """A header that says something odd."""
    return replace(wire, headers=(*wire.headers, rng.choice(_ODD_HEADERS)))


def _chunks(rng: random.Random, wire: Wire) -> Wire:
    """The body in chunks, of which one may be wrong."""
    size = b"%x" % len(wire.body)
    kinds = (
        size + b"\r\n" + wire.body + b"\r\n0\r\n\r\n",
        size + b";" + b"e" * 500 + b"\r\n" + wire.body + b"\r\n0\r\n\r\n",
        size + b"\r\n" + wire.body + b"\r\n0\r\nTrailer: x\r\n\r\n",
        b"-1\r\n" + wire.body,
        b"f" * 17 + b"\r\n" + wire.body,
        b"g\r\n" + wire.body,
        size + b"\n" + wire.body + b"\n0\n\n",
        b"".join(b"1\r\n%c\r\n" % byte for byte in wire.body[:300]) + b"0\r\n\r\n",
        size + b"\r\n" + wire.body,
    )
    both = (b"Content-Length: 3",) if rng.random() < 0.3 else ()
    framing = (b"Transfer-Encoding: chunked", *both)
    return replace(wire, body=rng.choice(kinds), framing=framing)


def _line(rng: random.Random, wire: Wire) -> Wire:
    """Another method, target or version."""
    kind = rng.randrange(3)
    if kind == 0:
        odd = (b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"PRI", b"po\x00st")
        return replace(wire, method=rng.choice(odd))
    if kind == 1:
        return replace(wire, target=rng.choice(_ODD_TARGETS))
    return replace(wire, version=rng.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"", b"X")))


MUTATIONS: Sequence[Mutation] = (
    _value,
    _value,
    _value,
    _key,
    _cut,
    _short,
    _bytes,
    _recoded,
    _header,
    _header,
    _chunks,
    _line,
)


def examples(document: Mapping[str, Any]) -> list[Wire]:
    """The valid requests of an OpenAPI document: each example of each operation."""
    found = []
    for path, operations in document["paths"].items():
        target = path.replace("{name}", "fuzz").replace("{role}", "safety").encode()
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            shown = content.get("application/json", {}).get("examples", {})
            bodies = [json.dumps(one["value"]).encode() for one in shown.values()]
            verb = method.upper().encode()
            found += [Wire(verb, target, body) for body in bodies or [b""]]
    return found


def mutated(rng: random.Random, wire: Wire) -> Wire:
    """A request broken in one way, seldom in two or three."""
    for mutation in rng.choices(MUTATIONS, k=rng.choice((1, 1, 1, 2, 3))):
        wire = mutation(rng, wire)
    return wire
