"""What the wire recorder and its test share: servers, replay of requests, the form of a recording.

A recording is a JSON file of exchanges in `recorded_wire/`: each holds its request, as somebody
wrote it, and the reply to it. A body stands there as JSON if serialising that JSON again gives its
very bytes, else as text, so that equal recordings mean equal bytes.

What varies from run to run is replaced by a name before it is recorded:

- digests of the checkpoints (their files name library versions), directories of the run;
- ids that the server draws, times, its port, the release's version;
- when the files of the offline documentation were installed, and the tag made from that;
- how long a caller is to wait, which the device's speed so far decides;
- the signature, by whether it is valid;
- values of metrics that measure time or the packing (the names, labels and the rest stay);
- titles, descriptions, examples and schema names of the OpenAPI document (its schemas are numbered
  in the order of their first use).

Rewards are the same bits everywhere, see `exact_models`; NumPy and the C library are held to their
basic instructions, since their exponentials differ in the last bit from processor to processor.
"""

import gzip
import hashlib
import hmac
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy._core._multiarray_umath as numpy_core
import orjson

from tests.integration.wire_documents import canonical_metrics, canonical_openapi
from tests.server_process import ServerProcess, server_process

ROOT = Path(__file__).parents[2]
RECORDINGS = Path(__file__).parent / "recorded_wire"
API_KEY = "wire-key"
SECRET = "wire-secret-of-some-length"  # not a secret: signs the recorded replies alone
REQUEST_ID = "wire"
GATE = "gate"  # of `fake_server`
TEMPLATE = "173af6e1fc78439e"  # sha256 of the chat template of tests.models

Exchange = dict[str, Any]


@dataclass(frozen=True)
class ServerKind:
    """A server that is recorded.

    Attributes:
        areas: names of its recordings, in the order in which they are replayed.
        roles: of the reward models; none: the scripted scorer of `fake_server`.
        environment: settings.
        further: settings of further models by name, whose path is a role's checkpoint.
    """

    areas: tuple[str, ...]
    roles: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SERVERS = {
    "both": ServerKind(
        ("score", "ndjson", "compare", "ppo_reward", "streams", "dialects", "kserve", "operations"),
        ("safety", "helpfulness"),
        {
            "REWARDD_MAX_ITEMS": "8",
            "REWARDD_MAX_BODY_BYTES": "8192",
            "REWARDD_MAX_REQUEST_TOKENS": "700",
            "REWARDD_MAX_REPLY_REWARDS": "200",
        },
    ),
    "safety_alone": ServerKind(
        ("safety_alone",),
        ("safety",),
        {
            "REWARDD_DIALECT_REWARD": "whitened",
            "REWARDD_DIALECT_STREAM": "dialects",
            "REWARDD_DIALECT_FALLBACK_REWARD": "-9.5",
            "REWARDD_DISABLED_DIALECTS": "slime,embeddings",
            "REWARDD_TAU": "0.25",
        },
    ),
    "further": ServerKind(
        ("further_models",),
        ("safety",),
        further={
            "brief": {"path": "helpfulness"},
            "warm": {"path": "helpfulness", "temperature": 2.0, "bias": 1.0},
        },
    ),
    "scripted": ServerKind(
        ("overload_and_failures",),
        (),
        {"REWARDD_MAX_ITEMS": "4", "REWARDD_MAX_QUEUE_ITEMS": "4"},
    ),
}


def plain_environment() -> dict[str, str]:
    """The environment of every process that is recorded: no settings, no processor's own bits."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("REWARDD_")}
    return kept | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(numpy_core.__cpu_dispatch__),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-FMA4",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


class WireServer:
    """A running server and what varies about it."""

    def __init__(self, running: ServerProcess, directory: Path) -> None:
        self.process = running.process
        self.url = url = running.url
        self.gate = directory / GATE
        self._names = {str(directory.parent): "(checkpoints)", url: "(server)"}
        self.client = httpx.Client(base_url=url, timeout=60, trust_env=False)
        info = self.client.get("/v1/info", headers={"X-API-Key": API_KEY}).json()
        for role, model in info["models"].items():
            self._names[model["digest"]] = f"({role} digest)"
            self._names[model["digest"][:16]] = f"({role} digest, 16 digits)"

    def fill(self, text: str) -> str:
        """A request's text with what `(safety digest)` and `{{x*300}}` stand for."""
        for value, name in self._names.items():
            text = text.replace(name, value)
        return re.sub(r"\{\{(.+?)\*(\d+)\}\}", lambda m: m[1] * int(m[2]), text)

    def normalise(self, text: str) -> str:
        """A reply's text without what varies from run to run."""
        for value, name in self._names.items():
            text = text.replace(value, name)
        for pattern, replacement in _VARYING:
            text = pattern.sub(replacement, text)
        return text


_VARYING = (
    (
        re.compile(r"\b(classify|pool|embd|scoreval|rerank|score|chatcmpl)-[0-9a-f]{32}\b"),
        r"\1-(32 hex digits)",
    ),
    (re.compile(r'"(created|updated)":\d{9,}\.\d+'), r'"\1":"(seconds, a float)"'),
    (re.compile(r'"created":\d{9,}(?=[,}])'), '"created":"(seconds, an integer)"'),
    (re.compile(r"\bTry again in \d+ s\b"), "Try again in (whole seconds) s"),
    (
        re.compile(
            r'("(?:(?:num|max)_bytes|entries|(?:lookup_|hit_)?tokens|lookups|hits|evictions)":\s*)\d+'
        ),
        r'\1"(a count)"',
    ),
    (re.compile(r'("attention":\s*)"[^"]+"'), r'\1"(native, or torch and why)"'),
    (re.compile(r'("name":\s*"rewardd",\s*"version":\s*)"[^"]+"'), r'\1"(release)"'),
)


@contextmanager
def serving(
    kind: ServerKind, checkpoints: Mapping[str, Path], directory: Path
) -> Iterator[WireServer]:
    """Run a server of that kind; its state and log lie in `directory`."""
    directory.mkdir(parents=True)
    secret = directory / "secret"
    secret.write_text(SECRET)
    environment = plain_environment() | {
        "REWARDD_API_KEYS": orjson.dumps(["another-key", API_KEY]).decode(),
        "REWARDD_HMAC_SECRET_FILE": str(secret),
        "REWARDD_MAX_WAIT_MS": "0",
        "FAKE_FORWARD_GATE": str(directory / GATE),
        "REWARDD_DRAIN_DELAY_SECONDS": "30",
        **{f"REWARDD_{role.upper()}_MODEL": str(checkpoints[role]) for role in kind.roles},
        **kind.environment,
    }
    if kind.further:
        named = {
            name: {**own, "path": str(checkpoints[own["path"]])}
            for name, own in kind.further.items()
        }
        environment["REWARDD_MODELS"] = orjson.dumps(named).decode()
    command = ("rewardd", "serve") if kind.roles else ("tests.integration.fake_server",)
    with server_process(directory, *command, environment=environment) as running:
        server = WireServer(running, directory)
        with closing(server.client):
            yield server


def replay(server: WireServer, exchanges: list[Exchange]) -> list[Exchange]:
    """Send the requests of a recording in order; the same exchanges with the replies of now."""
    found = []
    for exchange in exchanges:
        if exchange.get("after") == "SIGTERM":
            server.process.terminate()
            while server.client.get("/health/ready").status_code != 503:
                time.sleep(0.01)
        with _held(server, exchange):
            reply = _send(server, exchange)
        asked = {key: value for key, value in exchange.items() if key != "reply"}
        found.append({**asked, "reply": canonical_reply(reply, server.normalise)})
    return found


@contextmanager
def _held(server: WireServer, exchange: Exchange) -> Iterator[None]:
    """While no forward ends, and while another request is at work, where the exchange asks for it.

    One that "waits" is answered only once forwards end; others are before.
    """
    if not {"while", "held"} & exchange.keys():
        yield
        return
    server.gate.touch()
    threads = []
    if (other := exchange.get("while")) is not None:
        before = _items_taken(server)
        threads.append(threading.Thread(target=_send, args=(server, other)))
        threads[0].start()
        while _items_taken(server) == before:
            time.sleep(0.01)
    if exchange.get("waits"):
        threads.append(threading.Timer(0.3, server.gate.unlink))
        threads[-1].start()
    yield
    server.gate.unlink(missing_ok=True)
    for thread in threads:
        thread.join()


def _items_taken(server: WireServer) -> list[str]:
    """What the device has begun, as the metrics tell it."""
    lines = server.client.get("/metrics", headers={"X-API-Key": API_KEY}).text.splitlines()
    return [line for line in lines if line.startswith("rm_queue_wait_seconds_count")]


def _send(server: WireServer, exchange: Exchange) -> httpx.Response:
    method, path = exchange["request"].split(" ", 1)
    headers = {"X-Request-ID": REQUEST_ID, "X-API-Key": API_KEY, "Accept-Encoding": "identity"}
    if (body := _body(exchange)) is not None:
        headers["Content-Type"] = "application/json"
        body = server.fill(body.decode()).encode()
    if "lines" in exchange:
        headers["Content-Type"] = "application/x-ndjson"
    if exchange.get("gzip"):
        body = gzip.compress(body or b"", mtime=0)
        headers["Content-Encoding"] = "gzip"
    for name, value in exchange.get("headers", {}).items():
        if value is None:
            del headers[name]
        else:
            headers[name] = value
    return server.client.request(method, path, content=body, headers=headers)


def _body(exchange: Exchange) -> bytes | None:
    if "lines" in exchange:
        lines = [x.encode() if isinstance(x, str) else orjson.dumps(x) for x in exchange["lines"]]
        return b"".join(line + b"\n" for line in lines)
    if "text" in exchange:
        return str(exchange["text"]).encode()
    return orjson.dumps(exchange["json"]) if "json" in exchange else None


def canonical_reply(reply: httpx.Response, normalise: Callable[[str], str]) -> dict[str, Any]:
    """A reply as it is recorded: status, unusual headers, body; byte for byte but for what varies.

    A usual header that is missing is recorded as null.
    """
    headers = _canonical_headers(reply, normalise)
    kind = headers.get("content-type", "").partition(";")[0]
    found: dict[str, Any] = {"status": reply.status_code}
    usual = _usual_headers(problem=reply.status_code >= 400)
    unusual = {name: value for name, value in headers.items() if usual.get(name) != value}
    unusual |= dict.fromkeys(usual.keys() - headers.keys())
    if unusual:
        found["headers"] = dict(sorted(unusual.items()))
    if kind == "text/plain" and reply.text.startswith("# HELP"):
        return found | {"metrics": canonical_metrics(normalise(reply.text))}
    if '"openapi":' in reply.text[:20]:
        return found | {"openapi": canonical_openapi(orjson.loads(reply.content))}
    if kind not in {"text/html", "text/plain"} and not kind.endswith("json"):
        return found  # pictures and scripts of other packages
    return found | canonical_body(normalise(reply.text))


def _canonical_headers(reply: httpx.Response, normalise: Callable[[str], str]) -> dict[str, str]:
    headers = dict(reply.headers)
    assert "date" in headers
    del headers["date"]
    length = headers.pop("content-length", None)
    if reply.request.method != "HEAD":
        assert length in (None, str(len(reply.content)))
    if (given := headers.get("x-rewardd-signature")) is not None:
        headers["x-rewardd-signature"] = _judged_signature(reply, given)
    if headers.get("x-request-id") != REQUEST_ID:
        headers["x-request-id"] = re.sub("[0-9a-f]{32}", "(32 hex digits)", headers["x-request-id"])
    for name in ("etag", "last-modified"):  # of an installed file, and of the day it was installed
        if name in headers:
            headers[name] = f"({name})"
    if "retry-after" in headers:
        headers["retry-after"] = re.sub(r"^[1-9]\d*$", "(whole seconds)", headers["retry-after"])
    return {name: normalise(value) for name, value in headers.items()}


def _usual_headers(*, problem: bool) -> dict[str, str]:
    kind = "application/problem+json" if problem else "application/json"
    models = (f'{role}="({role} digest, 16 digits)"' for role in ("safety", "helpfulness"))
    return {
        "content-type": kind,
        "x-request-id": REQUEST_ID,
        "x-rewardd-provenance": ", ".join(f'{one};template="{TEMPLATE}"' for one in models),
        "x-rewardd-signature": "(valid)",
    }


def canonical_body(text: str) -> dict[str, Any]:
    """A body as JSON, or as lines of it, if that gives its bytes again; else as text."""
    value = _parsed(text)
    if value is not None:
        return {"json": value[0]}
    *lines, rest = text.split("\n")
    parsed = [_parsed(line) for line in lines]
    if lines and not rest and all(line is not None for line in parsed):
        return {"lines": [line[0] for line in parsed if line is not None]}
    return {"text": text.split("\n")} if text else {}


def _parsed(text: str) -> tuple[Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return (value,) if orjson.dumps(value).decode() == text else None


def _judged_signature(reply: httpx.Response, given: str) -> str:
    head = "{}\n{}\n{}\n".format(
        reply.status_code,
        reply.headers["x-request-id"],
        reply.headers["x-rewardd-provenance"],
    )
    mac = hmac.new(SECRET.encode(), head.encode() + reply.content, hashlib.sha256)
    return "(valid)" if given == f"v1={mac.hexdigest()}" else "(not valid)"
