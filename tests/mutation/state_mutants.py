"""Mutants of the durable state: streams, ledger, retries, and the file that holds them."""

from tests.mutation.target import Target
from tests.mutation.target import target as _target

STATE, TEST_STATE = "service/streams", "tests/service/streams"
_ROUTES = "tests/service/routes"

_STORE_TESTS = (f"{TEST_STATE}/test_store.py", f"{TEST_STATE}/test_store_bounds.py")
STORE = _target(
    f"{STATE}/store.py",
    *_STORE_TESTS,
    f"{TEST_STATE}/test_stream_table.py",
    f"{_ROUTES}/test_ppo_retries.py",
)
TRANSACTION = _target(f"{STATE}/transaction.py", *_STORE_TESTS)
_FILE_TESTS = (f"{TEST_STATE}/test_state_file.py", f"{TEST_STATE}/test_state_clock.py")
STATE_FILE = _target(
    f"{STATE}/state_file.py",
    *_STORE_TESTS,
    *_FILE_TESTS,
    f"{TEST_STATE}/test_database.py",
    f"{TEST_STATE}/test_store_durability.py",
)
STATE_CLOCK = _target(f"{STATE}/state_clock.py", *_FILE_TESTS)
MARKER = _target(f"{STATE}/marker.py", f"{TEST_STATE}/test_marker.py")
ROW_CHECK = _target(f"{STATE}/row_check.py", f"{TEST_STATE}/test_row_check.py")
PEER = _target("service/http/peer.py", "tests/service/http/test_peer.py")
RECEIPT = _target("service/http/receipt.py", "tests/service/http/test_receipt.py")
FAULTS = _target(f"{STATE}/faults.py", f"{TEST_STATE}/test_faults.py")
STREAMS = _target(f"{STATE}/stream_table.py", *_STORE_TESTS, f"{TEST_STATE}/test_stream_table.py")
LEDGER = _target(f"{STATE}/ledger_table.py", f"{TEST_STATE}/test_ledger_table.py", *_STORE_TESTS)
NOTICES = _target(f"{STATE}/notices.py", f"{TEST_STATE}/test_notices.py")
UNANSWERED = _target(f"{STATE}/unanswered_table.py", f"{TEST_STATE}/test_unanswered_table.py")
DATABASE = _target(
    f"{STATE}/database.py", f"{TEST_STATE}/test_database.py", f"{TEST_STATE}/test_state_file.py"
)
IDEMPOTENCY = _target(f"{STATE}/idempotency.py", f"{TEST_STATE}/test_idempotency.py")
STREAM_SERVICE = _target(f"{STATE}/service.py", f"{TEST_STATE}/test_service.py")

STATE_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    STORE: [
        ("if row.digest != key.digest:", "if False:"),
        (
            "            self._clear(connection, found)\n            return streams.save",
            "            return streams.save",
        ),
        ("        streams.forget_items(connection, stream)\n", ""),
        ("        ledger.forget_stream(connection, stream.id)\n", ""),
        ("version=found.version + 1, updated=now", "updated=now"),
        ("version=1, half_life", "version=0, half_life"),
        ("statistics is not None and statistics != found.statistics", "statistics is not None"),
        ("version=1, half_life=half_life, frozen", "version=1, frozen"),
        ("and transaction.saved is not None:", "and transaction.saved is None:"),
        ("                if lost is not None:\n", "                if False:\n"),
    ],
    TRANSACTION: [
        (">= self._limits.max_streams:", "> self._limits.max_streams:"),
        ("self.used is None else self.used.id", "self.saved is None else self.saved.id"),
        ("created=self.now, updated=self.now", "updated=self.now"),
        ("stream, new_items or {}, max_ids=", "stream, {}, max_ids="),
    ],
    STATE_FILE: [
        ('"BEGIN IMMEDIATE"', '"BEGIN"'),
        ('                    connection.execute("ROLLBACK")', "                    pass"),
        ("            self._require_present()\n", ""),
        ("            self._marker.advance(commits)\n", "            pass\n"),
        ("            self._clock.start(identity.clock)\n", "            pass\n"),
        ("(fault.lasts or self.connection is None)", "self.connection is None"),
        ("        self._faults.end()\n\n    def _require", "\n    def _require"),
    ],
    STATE_CLOCK: [
        (
            "max(now, high_water), high_water + MAX_STEP_SECONDS",
            "now, high_water + MAX_STEP_SECONDS",
        ),
        ("min(max(now, high_water), high_water + MAX_STEP_SECONDS)", "max(now, high_water)"),
        ("if own < high_water:", "if False:"),
    ],
    MARKER: [
        ("if marked.to_bytes() == found[0]:", "if True:"),
        ("suppress(OSError):\n            os.pwrite", "nullcontext():\n            os.pwrite"),
    ],
    ROW_CHECK: [
        ("cell + 0.0", "cell"),
        ('b"%b%d;" % (kind, len(value))', "kind"),
        ("if found != row_check(*cells):", "if False:"),
    ],
    PEER: [
        ("        self._when_lost = None\n\n    def end", "        pass\n\n    def end"),
        ("if by_reset and tell is not None:", "if tell is not None:"),
        ("if self._when_lost is tell:", "if False:"),
        ("not self.gone.is_set() and", ""),
        ("and not self._is_ending()", ""),
    ],
    RECEIPT: [
        ("left = peer is None or not peer.was_reset", "left = True"),
        ("                peer.when_lost(", "                (lambda *_, **__: None)("),
        (
            "            await store.settle(unanswered, answered=False)\n        raise",
            "            pass\n        raise",
        ),
    ],
    FAULTS: [
        ("if known is None or known.kind != fault.kind:", "if True:"),
        ("or self.fault.lasts or", "or"),
        ('split("_")[:2]', 'split("_")'),
    ],
    STREAMS: [
        ("decay(self.statistics, num_samples, half_life=self.half_life)", "self.statistics"),
        ("decay(self.statistics, num_samples,", "decay(self.statistics, batch.count,"),
        ("None if degrees is None else float(degrees)", "None"),
        ("self.num_samples + num_samples", "num_samples"),
        ("            num_samples=0,\n", ""),
        ("self.generation + 1", "self.generation"),
        ("digest_size=16", "digest_size=2"),
        ("AND position <= ?", "AND position < ?"),
        ("stream.num_ids + offset, text", "offset, text"),
        ("WHERE stream_id = ? AND item = ?", "WHERE stream_id <= ? AND item = ?"),
        ('counted_item WHERE stream_id = ?"', 'counted_item WHERE stream_id = ? OR 1"'),
        ("WHERE stream_id = ? AND position", "WHERE stream_id >= ? AND position"),
        ("ORDER BY name", "ORDER BY id"),
        (r"{1,64}\Z", "{1,64}$"),
    ],
    LEDGER: [
        ("WHERE created < ? AND seq < ?", "WHERE created < ? AND seq <= ?"),
        ("seq - limits.max_rows,", "seq - limits.max_rows - 1,"),
        ("WHERE end_offset - length(response) < ?", "WHERE end_offset < ?"),
        ("now - limits.max_age_seconds", "now - 2 * limits.max_age_seconds"),
        ("(last[0] if last else 0) + len(reply.body)", "len(reply.body)"),
        ('WHERE stream_id = ?"', 'WHERE stream_id = ? OR 1"'),
        ("int(last - first + 1)", "int(last - first)"),
    ],
    NOTICES: [
        ("        self._told.add(stream)\n", ""),
        ("len(self._told) >= self._max_streams", "False"),
    ],
    UNANSWERED: [
        (" if row[-1] not in self._being_answered", ""),
        ("now - self._limits.max_age_seconds", "now - 2 * self._limits.max_age_seconds"),
        ("        self.being_answered(receipt)\n", ""),
        ("WHERE place > ? OR held > ?", "WHERE place > ? AND held > ?"),
    ],
    DATABASE: [
        ("if current == version:", "if current != version:"),
        ("owner == APPLICATION_ID and version", "version"),
        ("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
        ('    recovery = "wal_replayed"', '    recovery = "clean"'),
        ("if identity.commits < marked.commits:", "if False:"),
        ("if identity.name != marked.name:", "if False:"),
        ("        _require_whole(connection)\n", ""),
        ("        if wrong:\n", "        if False:\n"),
        ("if version != 0 or num_tables:", "if version != 0:"),
        ("if version == SCHEMA_VERSION:", "if version:"),
    ],
    IDEMPOTENCY: [
        ('route.encode("utf-8", "surrogatepass") + b"\\n" + body', "body"),
        ("return digest.digest()", "return digest.digest()[:2]"),
        ("hashlib.sha256(caller)", "hashlib.sha256()"),
        ("if digest != key.digest:", "if False:"),
        ("if len(given) > 1 or not valid:", "if not valid:"),
        ("1 <= len(key) <= MAX_KEY_CHARACTERS", "1 <= len(key) < MAX_KEY_CHARACTERS"),
        ("if not future.cancelled():", "if future.done():"),
    ],
    STREAM_SERVICE: [
        ("merged = merge(merged, own)", "merged = own"),
        ("            return Statistics()\n", "            continue\n"),
        ("            metrics.stream(stream)\n", "            pass\n"),
        ("StateStore(path, limits=limits, on", "StateStore(path, on"),
        ("metrics.recovered(store.recovery)", "pass"),
        ("limits=limits, on_fault=metrics.state_fault)", "limits=limits)"),
        (', headers={"Retry-After": "1"}', ""),
        ('pointer = f"/{exc.field}" if exc.field else ""', 'pointer = ""'),
    ],
}
