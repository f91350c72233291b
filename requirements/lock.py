"""`make lock`: write what the image installs with the sha256 of each file, from constraints.txt.

serve.txt and train.txt are the two sorts of image without torch; torch-cuda.txt is PyPI's torch
with its CUDA libraries, torch-cpu.txt the CPU build; tools.txt are the tools that do this, and the
audit. For Linux x86_64 and the image's Python.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
PYTHON = "3.11"
PLATFORM = "manylinux_2_28_x86_64"
TORCH = re.compile(r"(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
HEAD = '# Made by `make lock` from {source}; see docs/guides/operations.md, "Supply chain".\n'


def compiled(*arguments: str, given: str | None = None) -> list[str]:
    """What uv resolves: one text for each package, with its hashes."""
    command = ["uv", "pip", "compile", "-q", "--generate-hashes", "--no-header", "--no-annotate"]
    platform = ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
    found = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:], *platform, *arguments],
        cwd=ROOT,
        input=given,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return re.split(r"\n(?=\S)", found.stdout.strip())


def write(name: str, source: str, packages: list[str]) -> None:
    """Write one file of requirements."""
    text = "\n".join(packages)
    (HERE / name).write_text(f"{HEAD.format(source=source)}{text}\n", "utf-8")


def cpu_build(version: str) -> str:
    """The CPU build of torch as pip finds it, which also knows of package sources of its own."""
    wanted = f"torch=={version}+cpu"
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip"]
        index = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]
        target = ["--python-version", PYTHON, "--platform", PLATFORM, "--only-binary", ":all:"]
        subprocess.run(
            [*pip, "download", "-q", "--no-deps", "-d", directory, *index, *target, wanted],
            check=True,
        )
        (wheel,) = Path(directory).iterdir()
        told = subprocess.run([*pip, "hash", wheel], capture_output=True, text=True, check=True)
    (digest,) = re.findall(r"sha256:[0-9a-f]{64}", told.stdout)
    return f"{wanted} \\\n    --hash={digest}"


def ours(extra: str) -> list[str]:
    """The packages of an extra; our own client, which is built from the tree, left out."""
    with tempfile.TemporaryDirectory() as directory:
        copied = Path(directory)
        (copied / "rm_client").mkdir()
        for name in ("pyproject.toml", "setup.py", "README.md"):
            text = (ROOT / name).read_text("utf-8").replace('f"rewardd-client=={VERSION}",', "")
            (copied / name).write_text(text, "utf-8")
        for name in ("pyproject.toml", "VERSION", "README.md"):
            (copied / "rm_client" / name).write_bytes((ROOT / "rm_client" / name).read_bytes())
        sources = [str(copied / "pyproject.toml"), str(copied / "rm_client" / "pyproject.toml")]
        return compiled("-c", "constraints.txt", "--extra", extra, *sources)


def main() -> None:
    """Write all of them."""
    for extra in ("serve", "train"):
        packages = ours(extra)
        write(f"{extra}.txt", "constraints.txt", [one for one in packages if not TORCH.match(one)])
        torch = [one for one in packages if TORCH.match(one)]
    write("torch-cuda.txt", "constraints.txt", torch)
    (version,) = re.findall(r"(?m)^torch==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"))
    write("torch-cpu.txt", "constraints.txt", [cpu_build(version)])
    write("tools.txt", "tools.in", compiled("requirements/tools.in"))


if __name__ == "__main__":
    main()
