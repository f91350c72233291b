"""Rules about the tree that no linter knows: who imports whom, sizes, the mirror, safe loading."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import (
    PACKAGES,
    ROOT,
    dotted_names,
    imported_names,
    modules,
    num_lines,
    tree,
)

MAX_LINES = 400
MIRRORED_FROM_LINES = 20

# Modules without a test file of their own name, and the file that would go red with them.
TESTED_IN = {
    # Names and values without behaviour.
    "rm_core/errors.py": "rm_core/test_checkpoint.py",
    "rm_core/types.py": "rm_core/test_text.py",
    "service/scoring.py": "service/test_scheduler.py",
    "service/state.py": "service/routes/test_operations.py",
    "service/state_errors.py": "service/test_streams.py",
    "training/errors.py": "training/test_data.py",
    # Kernels that must all give transformers' own numbers.
    "rm_core/engine/attention/masked.py": "rm_core/test_exactness.py",
    "rm_core/engine/attention/merged.py": "rm_core/test_exactness.py",
    "rm_core/engine/attention/tree.py": "rm_core/test_exactness.py",
    "rm_core/engine/attention/varlen.py": "rm_core/test_exactness.py",
    # Steps of one request, tested through their route or the scheduler.
    "service/app.py": "service/routes/test_operations.py",
    "service/compare_reply.py": "service/routes/test_compare.py",
    "service/entries.py": "service/test_scheduler.py",
    "service/execution.py": "service/test_scheduler.py",
    "service/judging.py": "service/routes/test_score.py",
    "service/openapi.py": "service/routes/test_operations.py",
    "service/queueing.py": "service/test_admission.py",
    "service/routes/health.py": "service/routes/test_operations.py",
    "service/routes/info.py": "service/routes/test_operations.py",
    "service/score_reply.py": "service/routes/test_score.py",
    "service/tokenizing.py": "service/test_scheduler.py",
    # Steps of one training, tested on what it reads and leaves behind.
    "training/data_report.py": "training/test_data.py",
    "training/formats/canonical.py": "training/formats/test_formats.py",
    "training/formats/hh_rlhf.py": "training/formats/test_formats.py",
    "training/formats/registry.py": "training/formats/test_formats.py",
    "training/formats/trl.py": "training/formats/test_formats.py",
    "training/model_card.py": "training/test_pipeline.py",
    "training/progress.py": "training/test_commands.py",
    "training/publish.py": "training/test_pipeline.py",
    # The server that the demo starts, watches and stops.
    "rewardd/server_process.py": "integration/test_demo.py",
}
READS_ENVIRONMENT = Path("service/settings.py")
UNSAFE_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "numpy.load", "np.load"}
ENVIRONMENT = {"os.environ", "os.getenv", "os.environb", "os.getenvb", "os.putenv"}


def test_the_import_contracts_hold() -> None:
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", modules(*PACKAGES, "tests"), ids=str)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert num_lines(path) <= MAX_LINES


def tested_names() -> set[str]:
    return {
        path.stem.removeprefix("test_")
        for path in modules("tests")
        if path.stem.startswith("test_")
    }


def test_every_module_has_tests_under_its_name() -> None:
    tested = tested_names()
    missing = [
        str(path)
        for path in modules("rm_core", "service", "training", "rewardd")
        if path.name not in {"__init__.py", "__main__.py"}
        and num_lines(path) > MIRRORED_FROM_LINES
        and path.stem not in tested
        and str(path) not in TESTED_IN
    ]

    assert missing == [], "write tests/<package>/test_<module>.py"


def test_every_exception_from_the_mirror_is_still_needed_and_names_a_test() -> None:
    tested = tested_names() - {"server_process"}  # that one is about the service's own process
    stale = [
        module
        for module, test in TESTED_IN.items()
        if not (ROOT / module).exists()
        or not (ROOT / "tests" / test).exists()
        or Path(module).stem in tested
    ]

    assert stale == []


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_nothing_is_unpickled(path: Path) -> None:
    module = tree(path)

    assert not {name.partition(".")[0] for name in imported_names(module)} & UNSAFE_IMPORTS
    assert not {*dotted_names(module), *imported_names(module)} & UNSAFE_CALLS


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_code_from_a_checkpoint_never_runs(path: Path) -> None:
    trusting = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword)
        and node.arg == "trust_remote_code"
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]

    assert trusting == [], "trust_remote_code is False or absent"


@pytest.mark.parametrize(
    "path", [path for path in modules(*PACKAGES) if path != READS_ENVIRONMENT], ids=str
)
def test_the_environment_is_read_only_in_the_settings(path: Path) -> None:
    module = tree(path)

    assert not {*dotted_names(module), *imported_names(module)} & ENVIRONMENT


def test_the_settings_are_where_the_environment_is_read() -> None:
    """Else the rule above would hold for want of finding anything."""
    assert set(dotted_names(tree(READS_ENVIRONMENT))) & ENVIRONMENT
