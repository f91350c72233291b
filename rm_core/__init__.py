"""The pure domain of rewardd: reward mathematics, text → ids, checkpoints, the engine.

No HTTP, no environment, no global state. Shapes in docstrings use these names:
tokens (of one packed row), items (of one request or pack), hidden (the trunk's width).
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("rewardd")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "not installed"
