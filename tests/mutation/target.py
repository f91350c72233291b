"""What a mutant is made of: a module, and the tests that must notice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A module and the test files that must go red when it is wrong."""

    path: str
    tests: tuple[str, ...]


def target(path: str, *tests: str) -> Target:
    """A module and its tests, paths from the tree's root."""
    return Target(path, tests)
