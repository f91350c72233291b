"""Fixtures of everything that trains."""

from tests.training.fixtures import preferences, start, tiny_base

__all__ = ["preferences", "start", "tiny_base"]
