"""Functions in C++, compiled on the machine that runs them; where that fails, torch's serve."""

from rm_core.engine.native.choose import chosen_native
from rm_core.engine.native.library import NativeLibrary

__all__ = ["NativeLibrary", "chosen_native"]
