"""A library is compiled once, and nothing is loaded that isn't the user's own and whole."""

import os
from pathlib import Path

import pytest

from rm_core.engine.native.compiler import COMPILERS, CannotCompile, compiled, default_folder
from tests.rm_core.engine.native.compiled import needs_compiler

SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "answer.cpp"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "kept"


@needs_compiler
def test_a_library_is_compiled_once_into_a_folder_of_the_users_own(
    source: Path, folder: Path
) -> None:
    first = compiled([source], folder)
    made = first.stat()

    assert compiled([source], folder) == first
    assert first.stat().st_ino == made.st_ino
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.suffix for path in folder.iterdir()) == [".sha256", ".so"]


@needs_compiler
def test_another_source_is_another_library(source: Path, folder: Path) -> None:
    first = compiled([source], folder)
    source.write_text(SOURCE.replace("42", "43"))

    assert compiled([source], folder) != first


@needs_compiler
@pytest.mark.parametrize("damage", ["changed", "cut", "no digest", "writable", "linked"])
def test_a_library_that_is_not_whole_or_not_ours_is_compiled_again(
    damage: str, source: Path, folder: Path
) -> None:
    library = compiled([source], folder)
    whole = library.read_bytes()
    if damage == "changed":
        library.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "cut":
        library.write_bytes(whole[: len(whole) // 2])
    elif damage == "no digest":
        library.with_suffix(".sha256").unlink()
    elif damage == "writable":
        library.chmod(0o777)
    else:
        library.rename(folder / "elsewhere")
        library.symlink_to(folder / "elsewhere")

    again = compiled([source], folder)

    assert again.read_bytes() == whole
    assert not again.is_symlink()
    assert again.stat().st_mode & 0o077 == 0


def test_without_a_compiler_the_reason_names_what_was_looked_for(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CannotCompile, match=r"no C\+\+ compiler is installed \(c\+\+"):
        compiled([source], folder)


@needs_compiler
def test_a_compilers_error_is_told(source: Path, folder: Path) -> None:
    source.write_text("nonsense")

    with pytest.raises(CannotCompile, match=r"failed: .*error"):
        compiled([source], folder)
    assert list(folder.iterdir()) == []


@needs_compiler
def test_a_folder_that_others_may_write_to_is_refused(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)

    with pytest.raises(CannotCompile, match="not this user's alone"):
        compiled([source], folder)


@needs_compiler
def test_another_users_folder_is_refused(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)

    with pytest.raises(CannotCompile, match="not this user's alone"):
        compiled([source], folder)


@needs_compiler
def test_a_folder_that_cannot_be_made_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CannotCompile, match="can't be used"):
        compiled([source], tmp_path / "file" / "kept")


def test_a_compiler_that_cannot_be_run_is_told(
    source: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / COMPILERS[0]
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CannotCompile, match=r"c\+\+ failed"):
        compiled([source], folder)


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)

    with pytest.raises(CannotCompile, match="no home"):
        default_folder()
