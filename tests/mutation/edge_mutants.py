"""Mutants of what bounds connections and bodies; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

CONNECTIONS, TEST_CONNECTIONS = "service/connections", "tests/service/connections"

PROTOCOL = target("service/edge/protocol.py", "tests/service/edge/test_protocol.py")
UPGRADES = target("service/edge/upgrades.py", "tests/service/edge/test_upgrades.py")
TABLE = target(f"{CONNECTIONS}/table.py", f"{TEST_CONNECTIONS}/test_table.py")
DEADLINES = target(f"{CONNECTIONS}/deadlines.py", f"{TEST_CONNECTIONS}/test_deadlines.py")
LIMITS = target(f"{CONNECTIONS}/limits.py", f"{TEST_CONNECTIONS}/test_limits.py")
UNFINISHED = target(f"{CONNECTIONS}/unfinished.py", f"{TEST_CONNECTIONS}/test_unfinished.py")
BODY = target("service/http/body.py", "tests/service/http/test_body.py")

EDGE_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    PROTOCOL: [
        ("if len(self.url) + len(url) > self._limits.url_bytes:", "if False:"),
        ("if len(self.headers) == MAX_HEADER_FIELDS:", "if False:"),
        ("        if not self._in_headers:\n            return\n", ""),
        ("if self._framed_bytes - plain > self._limits.header_bytes:", "if False:"),
        ("self._limits.header_bytes - self._header_bytes", "2**30"),
        ("cycle.keep_alive = False\n            return", "cycle.disconnected = True\n"),
    ],
    UPGRADES: [
        ('name == b"transfer-encoding" or ', ""),
        ("for pair in headers if pair[0] in _FRAMING", "for pair in headers"),
        ("    late.listens = True\n", ""),
    ],
    TABLE: [
        ("self.deadlines.oldest(Phase.IDLE, self._open)", "None"),
        ("oldest = next(iter(self._reserved))", "oldest = next(reversed(self._reserved))"),
        ("if left <= unread - _LEAST_READ_BYTES:", "if left < 0:"),
        ("if len(self._open) < self.limits.connections or", "if True or"),
    ],
    DEADLINES: [
        ("if now - since < allowed or", "if"),
        ("self._lines[phase][connection] = self._clock()", "self._lines[phase][connection] = 0.0"),
        ("if connection in among:", "if True:"),
    ],
    LIMITS: [
        ("limit - RESERVED_PLACES - _OTHER_FILES", "limit"),
        ("min(wanted, allowed)", "wanted"),
    ],
    UNFINISHED: [
        ("oldest = next(iter(self._bodies))", "oldest = next(reversed(self._bodies))"),
        ("return min(whole, self._began + by_rate)", "return whole"),
        ("            self.num_bytes -= num_bytes\n", "            pass\n"),
        ("self._timeout.reschedule(self._began)", "pass"),
    ],
    BODY: [
        ("and num_containers(body) > MAX_CONTAINERS:", "and False:"),
        ('.replace(rb"\\"", b"")', ""),
        ('.replace(rb"\\\\", b"")', ""),
    ],
}
