"""The C++ compiler: from sources to a shared library, kept for the next start.

A library is kept under a name made of all that it depends on (sources, compiler, processor), in a
folder that is the user's alone, with its digest beside it. What lies there and isn't ours, or isn't
whole, is not loaded.
"""

import hashlib
import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", "-shared", "-fPIC")
SECONDS = 60
"""A compiler that takes longer is stuck."""


class CannotCompile(Exception):
    """There is no library, and why."""


def default_folder() -> Path:
    """Where libraries are kept, of this user.

    Raises:
        CannotCompile: the user has no home.
    """
    try:
        return Path.home() / ".cache" / "rewardd" / "native"
    except RuntimeError as error:
        raise CannotCompile("the user has no home to keep a library in") from error


def compiled(sources: Sequence[Path], folder: Path) -> Path:
    """A shared library of some sources, compiled if it isn't kept already.

    Args:
        sources: C++ files, and the headers beside them that they include.
        folder: where libraries are kept; made where it is absent, with mode 0700.

    Raises:
        CannotCompile: no compiler, its errors, or a folder that others may write to.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise CannotCompile(f"no C++ compiler is installed ({', '.join(COMPILERS)})")
    _make_own(folder)
    library = folder / f"native-{_fingerprint(compiler, sources)}.so"
    if not is_whole(library):
        _compile(compiler, sources, library)
    return library


def is_whole(library: Path) -> bool:
    """Whether a kept library is the user's own and has the digest that was written beside it."""
    digest = library.with_suffix(".sha256")
    try:
        own = all(_is_own(path) for path in (library, digest))
        return own and digest.read_text("ascii") == _sha256(library)
    except (OSError, UnicodeDecodeError):
        return False


def _make_own(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = _is_own(folder)
    except OSError as error:
        raise CannotCompile(f"{folder} can't be used to keep a library: {error}") from error
    if not own:
        raise CannotCompile(f"{folder} is not this user's alone, so that no library is kept there")


def _is_own(path: Path) -> bool:
    """Whether a file or folder is this user's, and nobody else may write to it."""
    found = path.lstat()
    others_write = stat.S_IWGRP | stat.S_IWOTH
    return (
        found.st_uid == os.getuid()
        and not found.st_mode & others_write
        and not stat.S_ISLNK(found.st_mode)
    )


def _compile(compiler: str, sources: Sequence[Path], library: Path) -> None:
    """Compile beside the library and put it in its place at once, as other processes may do."""
    fresh = library.with_suffix(f".{os.getpid()}")
    units = [str(source) for source in sources if source.suffix == ".cpp"]
    try:
        run = subprocess.run(  # noqa: S603 - no shell, our own sources
            [compiler, *FLAGS, *units, "-o", str(fresh)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if run.returncode != 0:
            first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr)
            raise CannotCompile(f"{compiler} failed: {first.strip()[:200]}")
        fresh.chmod(0o700)
        digest = fresh.with_suffix(f".sha256-{os.getpid()}")
        digest.write_text(_sha256(fresh), "ascii")
        digest.chmod(0o600)
        fresh.replace(library)
        digest.replace(library.with_suffix(".sha256"))
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotCompile(f"{compiler} failed: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _fingerprint(compiler: str, sources: Sequence[Path]) -> str:
    parts = [source.read_bytes() for source in sources]
    parts += [" ".join((compiler, *FLAGS)).encode(), _version(compiler), _processor()]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()[:24]


def _version(compiler: str) -> bytes:
    try:
        run = subprocess.run(  # noqa: S603 - no shell
            [compiler, "--version"], capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotCompile(f"{compiler} failed: {error}") from error
    return run.stdout


def _processor() -> bytes:
    """What the compiler takes the processor for: its model and its instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".encode()
    told = (b"model name", b"flags", b"CPU part", b"Features")
    return b"\n".join(line for line in lines if line.startswith(told))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
