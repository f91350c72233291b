"""The `rewardd` command: one entry to training and to the service."""

from rewardd.own_packages import prefer_own_packages

# Here, and not in main(): the entry point, `python -m rewardd` and processes that others spawn from
# either import this package before any other of ours.
prefer_own_packages()

from rm_core import __version__  # noqa: E402

__all__ = ["__version__"]
