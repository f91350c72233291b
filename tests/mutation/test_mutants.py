import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.mutants import MUTANTS, Mutant, Target
from tests.mutation.run import ROOT, score_table, stale

SOUND = "def double(x):\n    return 2 * x\n"
TEST = "from module import double\n\n\ndef test_double():\n    assert double(%d) == %d\n"


def test_every_mutant_still_applies_and_its_tests_exist() -> None:
    assert stale(MUTANTS) == []
    assert [t for mutant in MUTANTS for t in mutant.target.tests if not (ROOT / t).exists()] == []


@pytest.mark.parametrize("original", ["3 * x", "x"])
def test_a_mutant_whose_text_is_gone_or_stands_twice_is_stale(
    tmp_path: Path, original: str
) -> None:
    (tmp_path / "module.py").write_text(SOUND)

    mutant = Mutant(Target("module.py", ()), original, "0")

    assert stale([mutant], tmp_path) == [mutant]
    assert stale([Mutant(Target("elsewhere.py", ()), "2", "0")], tmp_path) != []


TRY_ALL = """
from pathlib import Path
from tests.mutation.mutants import Mutant, Target
from tests.mutation.run import do_not_pass, survivors

names = ("test_weak.py", "test_strong.py", "test_absent.py")
mutants = [Mutant(Target("module.py", (name,)), "2 * x", "2 + x") for name in names]
for kills in {}, {"kills": do_not_pass}:
    print(*[mutant.target.tests[0] for mutant in survivors(mutants, [Path.cwd()], **kills)])
"""


def test_a_mutant_lives_where_its_tests_pass_and_dies_where_one_fails(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOUND)
    (tmp_path / "test_weak.py").write_text(TEST % (2, 4))
    (tmp_path / "test_strong.py").write_text(TEST % (3, 6))

    found = subprocess.run(
        [sys.executable, "-c", TRY_ALL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    by_failing, by_not_passing = found.stdout.splitlines()
    assert by_failing.split() == ["test_weak.py", "test_absent.py"], found.stderr
    assert by_not_passing.split() == ["test_weak.py"], found.stderr
    assert (tmp_path / "module.py").read_text() == SOUND


def test_the_score_counts_what_was_killed_and_shows_what_was_not() -> None:
    mutants = [Mutant(Target(f"{name}.py", ()), "sound", name) for name in "aab"]

    table = score_table(mutants, mutants[2:])

    assert table.splitlines() == [
        "a.py    2 of   2 killed",
        "b.py    0 of   1 killed",
        "all     2 of   3 killed",
        "survived in b.py:",
        "-sound",
        "+b",
    ]
