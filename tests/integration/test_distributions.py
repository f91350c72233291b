"""Both distributions, built from this checkout and installed into a fresh environment.

The dependencies come from the environment of the tests, so that nothing is fetched; `make dist`
tries the same with dependencies of its own.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

PACKAGES = ("rm_core", "service", "training", "rewardd")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
VERSION = (ROOT / "rm_client/VERSION").read_text("ascii").strip()
STRANGER = "a stranger's package was imported"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels by distribution, each built from its sdist."""
    source = tmp_path_factory.mktemp("source")
    rubbish = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
    for name in (*PACKAGES, "rm_client", "loadtest", "tests/architecture"):
        shutil.copytree(ROOT / name, source / name, ignore=rubbish)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    found = {}
    for distribution, project in {"rewardd-client": "rm_client", "rewardd": "."}.items():
        out = source / "dist" / distribution
        subprocess.run(
            [sys.executable, "-m", "build", "-q", "--no-isolation", "--outdir", out, project],
            cwd=source,
            check=True,
            capture_output=True,
        )
        (found[distribution],) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has both wheels and no editable install."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, symlinks=True)
    python = directory / "bin/python"
    installed = run(
        *(sys.executable, "-m", "pip", "--python", python),
        *("install", "-q", "--no-deps", "--no-index", *wheels.values()),
        cwd=directory,
    )
    assert installed.returncode == 0, installed.stderr
    # Only now, or pip would find the checkout installed already. A path in a .pth is not searched
    # for .pth files, so that the editable install stays out.
    (site_packages,) = directory.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages of the same names, none of which can be imported."""
    directory = tmp_path_factory.mktemp("strangers")
    for name in (*PACKAGES[:3], "rm_client", "tests", "loadtest"):
        (directory / name).mkdir()
        (directory / name / "__init__.py").write_text(f'raise RuntimeError("{STRANGER}")\n')
    return directory


def run(
    *command: Path | str, cwd: Path, pythonpath: Path | str | None = None
) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if pythonpath is not None:
        environment["PYTHONPATH"] = str(pythonpath)
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode()


@pytest.mark.parametrize(
    ("distribution", "packages"), [("rewardd-client", ("rm_client",)), ("rewardd", PACKAGES)]
)
def test_a_wheel_holds_every_file_of_its_packages_and_no_other(distribution, packages, wheels):
    here = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    }
    of_the_project = {
        f"rm_client/{name}" for name in ("VERSION", "README.md", "LICENSE", "pyproject.toml")
    }

    assert names(wheels[distribution]) == here - of_the_project
    assert {f"{package}/py.typed" for package in packages} <= here


def test_both_have_one_version_and_rewardd_needs_the_client_of_its_own(wheels):
    assert f"\nVersion: {VERSION}\n" in metadata(wheels["rewardd-client"])
    assert f"\nVersion: {VERSION}\n" in metadata(wheels["rewardd"])
    assert f"\nRequires-Dist: rewardd-client=={VERSION}\n" in metadata(wheels["rewardd"])


def test_the_installed_packages_tell_their_version(python, tmp_path):
    code = "import rewardd, rm_client; print(rewardd.__version__, rm_client.__version__)"

    assert run(python, "-c", code, cwd=tmp_path).stdout.split() == [VERSION, VERSION]


@pytest.mark.parametrize("pythonpath", ["strangers", "empty entry"])
def test_strangers_would_be_imported_without_the_command(python, strangers, pythonpath):
    """Else the tests below could not fail."""
    path = strangers if pythonpath == "strangers" else f"{os.pathsep}/nowhere"
    cwd = strangers.parent if pythonpath == "strangers" else strangers

    assert STRANGER in run(python, "-c", "import service.cli", cwd=cwd, pythonpath=path).stderr


@pytest.mark.parametrize("pythonpath", [False, True], ids=["", "PYTHONPATH"])
@pytest.mark.parametrize("module", [False, True], ids=["rewardd", "python -m rewardd"])
def test_the_command_works_beside_folders_of_the_same_names(python, strangers, module, pythonpath):
    command = (python, "-m", "rewardd") if module else (python.with_name("rewardd"),)

    done = run(*command, "--help", cwd=strangers, pythonpath=strangers if pythonpath else None)

    assert done.returncode == 0, done.stderr
    assert "calibrate" in done.stdout


def test_the_demo_s_server_works_beside_folders_of_the_same_names(python, strangers, tmp_path):
    code = (
        "from pathlib import Path\n"
        "from rewardd.demo.server_process import ServerProcess\n"
        f"log = Path({str(tmp_path / 'log')!r})\n"
        "with ServerProcess(['--safety-model', '/nowhere'], port=0, log=log) as server:\n"
        "    server.wait_until_ready()\n"
    )

    done = run(python, "-c", code, cwd=strangers, pythonpath=strangers)

    assert "ServerFailed" in done.stderr
    assert "/nowhere" in done.stderr
    assert STRANGER not in done.stderr


def test_a_spawned_process_finds_our_packages_too(python, strangers, tmp_path):
    program = tmp_path / "spawning.py"
    program.write_text(
        "import multiprocessing, sys\n"
        "import rewardd\n"
        "import rm_core.errors\n"
        "def work(): print('worked', flush=True)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n"
        "    sys.exit(process.exitcode)\n"
    )

    done = run(python, program, cwd=strangers, pythonpath=strangers)

    assert (done.returncode, done.stdout) == (0, "worked\n"), done.stderr
