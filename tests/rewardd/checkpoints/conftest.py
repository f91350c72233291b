"""Fixtures of the commands that look at what training makes."""

from tests.training.fixtures import preferences, start, tiny_base

__all__ = ["preferences", "start", "tiny_base"]
