"""The engine: packs sequences without padding and runs them through the trunk."""

from rm_core.engine.engine import DType, Engine, load_engine

__all__ = ["DType", "Engine", "load_engine"]
