"""The import finder that makes our packages win over folders of the same names.

Our top-level packages have everyday names. A folder `service/` or `training/` on PYTHONPATH, or in
the working directory under `python -m rewardd`, comes before the installed packages in `sys.path`
and would be imported in their stead.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OWN_PACKAGES = frozenset({"rm_core", "service", "training", "rewardd", "rm_client"})


class OwnPackagesFinder:
    """Finds our top-level packages beside this one, and leaves every other name to the rest.

    Args:
        directory: that holds the packages: site-packages, or a checkout.
    """

    def __init__(self, directory: Path) -> None:
        self._path = [str(directory)]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a package as `importlib.abc.MetaPathFinder.find_spec` does."""
        if path is not None or fullname not in OWN_PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, self._path, target)
        # A folder without code is another's namespace package; rewardd-client may be elsewhere.
        return spec if spec is not None and spec.origin is not None else None


def prefer_own_packages() -> None:
    """Put the finder before all others; `sys.path`, and so every other import, stays as it is."""
    if not any(isinstance(finder, OwnPackagesFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, OwnPackagesFinder(Path(__file__).parents[1]))
