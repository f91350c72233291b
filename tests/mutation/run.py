"""Try every mutant on a copy of the tree: `python -m tests.mutation.run [WORD …]`.

A mutant is killed if a test of its target's files fails or hangs; any other end (all pass, none is
collected) is a survivor. Words choose the mutants whose module or text holds one of them.
"""

import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode

import pytest

from tests.mutation.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
OURS = ("tests", "rm_core", "service", "training", "rewardd", "rm_client", "loadtest")
# What the tests import and is slow: each run is a fork that has it already.
SLOW_IMPORTS = (
    "torch",
    "transformers",
    "fastapi",
    "hypothesis",
    "httpx",
    "mpmath",
    "scipy.optimize",
)
SLOW_IMPORTS += ("sklearn.metrics", "pydantic_settings", "prometheus_client", "structlog", "orjson")
SECONDS_EACH = 600
# One seed: the score doesn't depend on what hypothesis happens to draw.
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0")
# What the fork has imported pytest can't rewrite and warns of, where warnings are errors.
OPTIONS += ("-W", "ignore::pytest.PytestAssertRewriteWarning")


def stale(mutants: Sequence[Mutant], root: Path = ROOT) -> list[Mutant]:
    """The mutants whose text does not stand exactly once in their module."""
    return [
        mutant
        for mutant in mutants
        if not (root / mutant.target.path).exists()
        or (root / mutant.target.path).read_text("utf-8").count(mutant.original) != 1
    ]


def start(tree: Path, tests: Sequence[str]) -> int:
    """Begin a pytest run of those test files of the tree, in a fork; its process id."""
    child = os.fork()
    if child:
        return child
    code = -1
    try:
        signal.alarm(SECONDS_EACH)
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        os.chdir(tree)
        sys.path[:] = [str(tree), *(path for path in sys.path if path not in {"", str(ROOT)})]
        os.environ["PYTHONPATH"] = str(tree)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        code = int(pytest.main([*OPTIONS, *tests]))
    finally:
        os._exit(code & 0xFF)


def tests_fail(status: int) -> bool:
    """Whether a run ended as one does where a test fails, or was stopped because it hung."""
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == pytest.ExitCode.TESTS_FAILED


def do_not_pass(status: int) -> bool:
    """Whether a run ended in any other way than one whose tests all pass."""
    return status != 0


def survivors(
    mutants: Sequence[Mutant], trees: Sequence[Path], kills: Callable[[int], bool] = tests_fail
) -> list[Mutant]:
    """The mutants that no test kills, each tried on one of the trees.

    Args:
        mutants: what to try.
        trees: copies of the tree to try it on.
        kills: whether a run's status is that of a killed mutant.
    """
    free, alive = list(trees), []
    running: dict[int, tuple[Mutant, Path, str]] = {}
    waiting = list(reversed(mutants))
    while waiting or running:
        while waiting and free:
            mutant, tree = waiting.pop(), free.pop()
            module = tree / mutant.target.path
            sound = module.read_text("utf-8")
            module.write_text(sound.replace(mutant.original, mutant.mutated), "utf-8")
            running[start(tree, mutant.target.tests)] = (mutant, tree, sound)
        child, status = os.wait()
        mutant, tree, sound = running.pop(child)
        (tree / mutant.target.path).write_text(sound, "utf-8")
        free.append(tree)
        killed = kills(status)
        alive += [] if killed else [mutant]
        sys.stderr.write("." if killed else "s")
        sys.stderr.flush()
    sys.stderr.write("\n")
    return alive


def score_table(mutants: Sequence[Mutant], alive: Sequence[Mutant]) -> str:
    """Killed of all, by module, and each survivor with its texts."""
    count: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for mutant in mutants:
        killed, total = count[mutant.target.path]
        count[mutant.target.path] = [killed + (mutant not in alive), total + 1]
    rows = [*count.items(), ("all", [len(mutants) - len(alive), len(mutants)])]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {killed:3} of {total:3} killed" for name, (killed, total) in rows]
    lines += [f"survived in {m.target.path}:\n-{m.original}\n+{m.mutated}" for m in alive]
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Run and print the score; 1 if a mutant survives or no longer applies."""
    chosen = [
        mutant
        for mutant in MUTANTS
        if not words or any(word in f"{mutant.target.path} {mutant.original}" for word in words)
    ]
    if outdated := stale(chosen):
        for mutant in outdated:
            sys.stdout.write(f"not once in {mutant.target.path}: {mutant.original!r}\n")
        return 1
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        first, *others = [Path(folder) / str(number) for number in range(os.cpu_count() or 1)]
        shutil.copytree(ROOT, first, ignore=NOT_COPIED)
        # By hash: two mutants of one size within a second would share bytecode known by its time.
        compile_dir(first, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
        for tree in others:
            shutil.copytree(first, tree)
        trees = [first, *others]
        unchanged = [
            Mutant(target, "", "") for target in {mutant.target: None for mutant in chosen}
        ]
        sys.stderr.write("without any mutant, where all must survive: ")
        passing = survivors(unchanged, trees, do_not_pass)
        if failing := [mutant.target for mutant in unchanged if mutant not in passing]:
            for target in failing:
                sys.stdout.write(f"fails without any mutant: {' '.join(target.tests)}\n")
            return 1
        sys.stderr.write("with each: ")
        alive = survivors(chosen, trees)
    sys.stdout.write(score_table(chosen, alive) + "\n")
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
