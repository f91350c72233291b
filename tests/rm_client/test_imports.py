"""The client needs nothing of ours and nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "rm_client").rglob("*.py")
)
ALLOWED = {"httpx", "pydantic", "pydantic_core", "rm_client", "typing_extensions"}
ABSENT = ("torch", "numpy", "transformers", "fastapi", "orjson", "rm_core", "service", "trl")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_httpx_pydantic_and_the_standard_library_alone(module: str) -> None:
    path = ROOT / Path(*module.split("."))
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    for node in ast.parse(source).body:  # what runs on import; functions may import more
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "frameworks load these files by path: no relative imports"
            names = [node.module or ""]
        roots = {name.partition(".")[0] for name in names}
        assert roots <= ALLOWED | sys.stdlib_module_names


def test_every_module_works_where_torch_and_numpy_are_not_installed() -> None:
    program = f"""
import importlib, sys
for name in {ABSENT!r}:
    sys.modules[name] = None  # importing it now raises ImportError
for name in {MODULES!r}:
    importlib.import_module(name)
from rm_client import RewardClient, ConnectionFailed, RetryPolicy
from rm_client.adapters.trl import trl_reward
import pickle
pickle.loads(pickle.dumps(trl_reward("http://127.0.0.1:9")))
try:
    RewardClient("http://127.0.0.1:9", retry=RetryPolicy(max_attempts=1)).score(
        [{{"prompt": "p", "response": "r"}}]
    )
except ConnectionFailed:
    print("works")
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stdout == "works\n", found.stderr


def test_what_is_public_is_named() -> None:
    import rm_client

    assert sorted(rm_client.__all__) == rm_client.__all__
    assert all(hasattr(rm_client, name) for name in rm_client.__all__)
