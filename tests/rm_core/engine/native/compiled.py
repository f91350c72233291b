"""The compiled library for tests, where the machine has what compiles it."""

import shutil

import pytest

from rm_core.engine.native import NativeLibrary
from rm_core.engine.native.choose import native_library
from rm_core.engine.native.compiler import COMPILERS

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="no C++ compiler is installed"
)


def library() -> NativeLibrary:
    """The process's library; a compiler that is there must give one."""
    found = native_library()
    assert isinstance(found, NativeLibrary), found
    return found
