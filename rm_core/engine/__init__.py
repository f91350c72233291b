"""The engine: packs sequences without padding and runs them through the trunk.

`packing` needs no torch; what does is imported on first use, so that whoever only chooses packs
starts quickly.
"""

from typing import TYPE_CHECKING, Any

from rm_core.engine.options import EngineOptions
from rm_core.types import DType

if TYPE_CHECKING:
    from rm_core.engine.engine import Engine, load_engine

__all__ = ["DType", "Engine", "EngineOptions", "load_engine"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rm_core.engine import engine

    return getattr(engine, name)
