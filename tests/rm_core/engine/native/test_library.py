"""What of a file becomes a library; its functions are tested where they are used."""

from pathlib import Path

import pytest

from rm_core.engine.native import library as module
from rm_core.engine.native.compiler import CannotCompile
from rm_core.engine.native.library import NativeLibrary


def test_a_file_that_is_no_library_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.so"
    path.write_bytes(b"not one")

    with pytest.raises(CannotCompile, match="can't be loaded"):
        NativeLibrary(path)


def test_without_torchs_threads_there_is_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CDLL", lambda _path: object())

    with pytest.raises(CannotCompile, match="built without OpenMP"):
        NativeLibrary(tmp_path / "any.so")
