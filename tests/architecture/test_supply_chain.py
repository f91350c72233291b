"""What the image installs: files of known sha256, at the versions that the tests ran with."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.source import ROOT

LOCKS = ("serve.txt", "train.txt", "torch-cpu.txt", "torch-cuda.txt", "tools.txt")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
CUDA = re.compile(
    r"(triton|nvidia-.*|cuda-.*)$"
)  # torch pins its own; constraints.txt leaves them out


def unhashed(text: str) -> list[str]:
    """The requirements of a lock that pin no version, or have no hash of 64 hex digits."""
    entries = re.split(r"\n(?=[^\s#])", re.sub(r"(?m)^#.*\n", "", text).strip())
    good = re.compile(r"[a-z0-9._-]+==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\\n)?)+\s*")
    return [entry for entry in entries if not good.fullmatch(entry)]


def versions(path: Path) -> dict[str, str]:
    """Package and version of each pinned line."""
    found = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", path.read_text("utf-8"))
    return {canonicalize_name(name): version for name, version in found}


CONSTRAINTS = versions(ROOT / "constraints.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_every_file_that_is_installed_has_a_known_hash(name: str) -> None:
    assert unhashed((ROOT / "requirements" / name).read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    ["a==1\n", "a>=1 \\\n    --hash=sha256:" + "0" * 64, "a==1 \\\n    --hash=sha256:00\n"],
)
def test_a_lock_without_hashes_or_versions_is_found_out(text: str) -> None:
    assert unhashed(text) != []


@pytest.mark.parametrize("name", LOCKS[:-1])
def test_a_lock_is_in_step_with_the_constraints(name: str) -> None:
    locked = versions(ROOT / "requirements" / name)
    others = {
        package: version
        for package, version in locked.items()
        if version.removesuffix("+cpu") != CONSTRAINTS.get(package) and not CUDA.match(package)
    }

    assert others == {}, "run `make lock`"


@pytest.mark.parametrize("extra", ["serve", "train"])
def test_a_lock_holds_whatever_the_extra_asks_for(extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    client = tomllib.loads((ROOT / "rm_client/pyproject.toml").read_text("utf-8"))["project"]
    asked = [*extras["optional-dependencies"]["serve"], *client["dependencies"]]
    asked += re.findall(r'"([a-z-]+>=[\d.]+)"', (ROOT / "setup.py").read_text("utf-8"))
    if extra == "train":
        asked += extras["optional-dependencies"]["train"]
    locked = versions(ROOT / "requirements" / f"{extra}.txt")

    for torch in ("torch-cpu.txt", "torch-cuda.txt"):
        whole = locked | versions(ROOT / "requirements" / torch)
        for requirement in map(Requirement, asked):
            name = canonicalize_name(requirement.name)
            if name != "rewardd":
                assert requirement.specifier.contains(whole[name].removesuffix("+cpu")), name


def test_no_torch_is_in_two_locks() -> None:
    for name in ("serve.txt", "train.txt"):
        assert [one for one in versions(ROOT / "requirements" / name) if CUDA.match(one)] == []
        assert "torch" not in versions(ROOT / "requirements" / name)
    assert set(versions(ROOT / "requirements/torch-cpu.txt")) == {"torch"}


def test_the_image_installs_nothing_that_has_no_hash() -> None:
    installs = re.findall(r"pip --python \S+ install (.*(?:\\\n.*)*)", DOCKERFILE)
    by_hash = [one for one in installs if "--require-hashes" in one]
    ours = [one for one in installs if "--require-hashes" not in one]

    assert len(by_hash) == 2
    assert all("--no-deps --only-binary :all:" in one for one in by_hash)
    assert len(ours) == 1
    assert {"--no-deps", "--no-build-isolation", "--no-index", "./rm_client", "."} <= set(
        ours[0].split()
    )
    assert "requirements/torch-${TORCH}.txt" in DOCKERFILE
    assert "requirements/${EXTRA}.txt" in DOCKERFILE


def test_the_tools_are_installed_by_hash_and_an_audit_skips_nothing() -> None:
    assert "install -q --require-hashes --no-deps -r requirements/tools.txt" in MAKEFILE
    assert "pip-audit --strict --require-hashes --disable-pip" in MAKEFILE
    wanted = (ROOT / "requirements/tools.in").read_text("utf-8").splitlines()
    assert {name for name in wanted if not name.startswith("#")} <= set(
        versions(ROOT / "requirements/tools.txt")
    )


def test_hooks_run_tools_of_the_environment_and_fetch_none() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert "repo: local" in hooks
    assert re.findall(r"repo: (?!local)\S+", hooks) == []
