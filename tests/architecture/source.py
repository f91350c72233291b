"""What the architecture tests look at: the tree's modules and what they say."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("rm_core", "service", "training", "rewardd", "rm_client", "loadtest")


def modules(*packages: str) -> list[Path]:
    """Python files of these packages, relative to the root, in a fixed order."""
    return sorted(
        path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py")
    )


def num_lines(path: Path) -> int:
    return len((ROOT / path).read_text("utf-8").splitlines())


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"), filename=str(path))


def imported_names(module: ast.Module) -> Iterator[str]:
    """Dotted names of everything imported, "os" as well as "os.environ"."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted_names(module: ast.Module) -> Iterator[str]:
    """Every attribute that is read off a plain name: "os.environ", "torch.load"."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def documents() -> list[Path]:
    """README, CONTRIBUTING and everything in docs/, relative to the root."""
    tops = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    found = [path for path in tops if path.exists()] + list((ROOT / "docs").rglob("*.md"))
    return sorted(path.relative_to(ROOT) for path in found)
