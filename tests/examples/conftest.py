"""Fixtures of what the examples train."""

from tests.training.fixtures import preferences, tiny_base

__all__ = ["preferences", "tiny_base"]
