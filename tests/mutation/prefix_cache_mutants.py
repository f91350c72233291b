"""Mutants of what keeps keys and values from pack to pack; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

ENGINE, TEST_ENGINE = "rm_core/engine", "tests/rm_core/engine"

_KEEPING_TESTS = f"{TEST_ENGINE}/forward/test_keeping.py"
RADIX = target(f"{ENGINE}/prefix_cache/radix.py", f"{TEST_ENGINE}/prefix_cache/test_radix.py")
STORE = target(f"{ENGINE}/prefix_cache/store.py", f"{TEST_ENGINE}/prefix_cache/test_store.py")
CACHE = target(
    f"{ENGINE}/prefix_cache/cache.py",
    f"{TEST_ENGINE}/prefix_cache/test_cache.py",
    _KEEPING_TESTS,
    f"{TEST_ENGINE}/forward/test_keeping_finite.py",
)
KEEPING = target(
    f"{ENGINE}/forward/keeping.py",
    _KEEPING_TESTS,
    f"{TEST_ENGINE}/forward/test_keeping_deterministic.py",
)
MERGED = target(f"{ENGINE}/attention/merged.py", f"{TEST_ENGINE}/attention/test_kept.py")
MASKED = target(f"{ENGINE}/attention/masked.py", f"{TEST_ENGINE}/attention/test_kept.py")
VARLEN = target(f"{ENGINE}/attention/varlen.py", f"{TEST_ENGINE}/attention/test_kept.py")

PREFIX_CACHE_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    RADIX: [
        ("self._roots.get(scope), 0", 'self._roots.get(b""), 0'),
        ("if node.pack == self.pack:", "if False:"),
        ("elif node.last_used != last_used:", "elif False:"),
        ("self.clock - age", "self.clock"),
        ("if above is None or node.children:", "if above is None:"),
        ("len(above.children) != 1:", "False:"),
        ("self._let_wait(above)\n        elif", "pass\n        elif"),
    ],
    STORE: [("self.joined([part(run, 0, tokens)])", "part(run, 0, tokens)")],
    CACHE: [
        ("if before.version == self._version:", "if before.version <= self._version:"),
        ("else plan(now), now)", "else pack, now)"),
        ("kept = reading.is_whole", "kept = False"),
        (" and all(math.isfinite(total) for total in self._finite)", ""),
        ("first = segment.position - begin", "first = 0"),
        ("Coming(run.row + tokens)", "run"),
        ("left = self._max_bytes // _PACK_SHARE", "left = self._max_bytes"),
        ("tree.evict(most)", "pass"),
        ("most -= node.num_tokens * self._token_bytes", "most -= 0"),
        ("self._max_bytes //= 2", "pass"),
        ("at - segment.position)", "at)"),
        ("            self._tree.clear()\n            return ()", "            return ()"),
    ],
    KEEPING: [
        ("if isinstance(tried, str):", "if False:"),
        ("if options.deterministic and not forward.shares_exactly:", "if False:"),
        ("_why_bits_move(forward, texts, cold) or tried", "tried"),
        ("if options.compile_layers:", "if False:"),
    ],
    MERGED: [
        ("segment.kept or segment.end - segment.start", "segment.end - segment.start"),
        ("dq[rows] += part_q.permute(2, 0, 1, 3)", "pass"),
    ],
    MASKED: [("end = segment.position + segment.kept", "end = segment.kept")],
    VARLEN: [("behind = pack.num_tokens", "behind = 0")],
}
