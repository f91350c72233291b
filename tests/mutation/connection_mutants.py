"""Mistakes by which work goes on for nobody, and by which a service that stops loses somebody."""

from tests.mutation.target import Target, target

EDGE, TEST_EDGE = "service/edge", "tests/service/edge"
HTTP, TEST_HTTP = "service/http", "tests/service/http"

HANG_UPS = target(
    f"{EDGE}/hang_ups.py", f"{TEST_EDGE}/test_hang_ups.py", "tests/chaos/test_hang_ups.py"
)
DRAIN = target(f"{EDGE}/drain.py", f"{TEST_EDGE}/test_drain.py")
NDJSON = target(f"{HTTP}/ndjson.py", f"{TEST_HTTP}/test_ndjson.py")
WINDOW = target(f"{HTTP}/window.py", f"{TEST_HTTP}/test_window.py")
MIDDLEWARE = target(f"{HTTP}/middleware.py", f"{TEST_HTTP}/test_middleware.py")
GZIP = target(f"{HTTP}/gzip.py", f"{TEST_HTTP}/test_gzip.py")

CONNECTION_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    HANG_UPS: [
        ("if not self.read_paused and not", "if self.read_paused and not"),
        ("self._peer.end(by_reset=exc is not None)", "pass"),
        ("select.EPOLLRDHUP)", "0)"),
    ],
    DRAIN: [
        ("not _is_idle(connection) or not _has_unread", "not _is_idle(connection) or _has_unread"),
        ("_is_idle(connection) or connection.flow.write_paused", "_is_idle(connection)"),
        ("bool(cycle.more_body and not cycle.response_started)", "False"),
        ("self._state.last_call.set()", "pass"),
        ("return not cut_off", "return True"),
    ],
    NDJSON: [
        ("if not self._body_ended:  # a body", "if True:  # a body"),
        ("if self._window.is_scoring and not self._is_writing:", "if False:"),
        ("peer.cut()  # it can", "pass  # it can"),
        ("await peer.gone.wait()", "await asyncio.Event().wait()"),
        ("_code(line) in _UNANSWERED", "_code(line) == _STOPPING.code"),
        ("if peer is not None and not self._body_ended:", "if False:"),
    ],
    MIDDLEWARE: [
        ("if peer is None or peer.hears:", "if True:"),
        (
            "                self.aborted = True\n            headers",
            "                pass\n            headers",
        ),
    ],
    WINDOW: [
        ("len(self._lines) >= _MAX_LINES or", "len(self._lines) > _MAX_LINES or"),
        ("            task.cancel()", "            pass"),
    ],
    GZIP: [
        ("FREE_LINES + MAX_LINES_PER_BYTE * num_read:", "FREE_LINES + num_inflated:"),
        ('piece.count(b"\\n")', "piece.count(b'}')"),
    ],
}
