"""Mutants of attention in our own code; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

NATIVE = target(
    "rm_core/engine/attention/native.py", "tests/rm_core/engine/attention/test_native.py"
)
COMPILER = target(
    "rm_core/engine/native/compiler.py", "tests/rm_core/engine/native/test_compiler.py"
)

ATTENTION_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    NATIVE: [
        ("pieces.append((source[step], 0, run.kept))", "pieces.append((0, 0, run.kept))"),
        ("pack.position_ids[rows]", "pack.position_ids[: len(rows)]"),
        ("not wanted\n        and ", ""),
        ("window=sliding_window)", "window=None)"),
    ],
    COMPILER: [
        ("if not is_whole(library):", "if not library.exists():"),
        ("    if not own:\n", "    if False:\n"),
        ("and not stat.S_ISLNK(found.st_mode)", ""),
    ],
}
