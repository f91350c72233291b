"""Mutants of what gives a text the same bits in any company; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

ENGINE, TEST_ENGINE = "rm_core/engine", "tests/rm_core/engine"

BY_PATH = target(f"{ENGINE}/attention/by_path.py", f"{TEST_ENGINE}/attention/test_by_path.py")
TREE = target(f"{ENGINE}/attention/tree.py", f"{TEST_ENGINE}/attention/test_by_path.py")
SELF_TEST = target(f"{ENGINE}/forward/self_test.py", f"{TEST_ENGINE}/forward/test_self_test.py")

DETERMINISTIC_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    BY_PATH: [
        ("if at.stop <= after:", "if True:"),
        ("at[mine] - self._starts[source]", "at[mine]"),
    ],
    TREE: [("if tree.by_path and softcap is not None:", "if False:")],
    SELF_TEST: [("if differing == 0:", "if True:")],
}
