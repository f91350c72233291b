"""The examples of the documentation work as they are written."""

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, assert_type

import httpx
import numpy as np
import pytest

from rm_client import (
    FailedReply,
    GroupItem,
    GroupReply,
    Info,
    ResponseItem,
    ResponseReply,
    RewardClient,
    ScoreReply,
)
from rm_client.adapters import environment, verl

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "guides"
TRL = {"GRPOTrainer": lambda **given: given}


def examples(page: str) -> list[str]:
    found = re.findall(
        r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no examples"
    return found


@pytest.mark.parametrize(
    ("page", "given"),
    [
        ("client.md", {}),
        (
            "trainers/ppo.md",
            {
                "prompts": ["p", "q"],
                "responses": ["one", "two"],
                "logprobs": np.full((2, 3), -1.0),
                "ref_logprobs": np.full((2, 3), -1.5),
                "mask": np.array([[1, 1, 1], [1, 0, 0]]),
                "values": None,
                "gae": lambda rewards, _: rewards,
            },
        ),
        ("trainers/areal.md", {}),
        ("trainers/trl.md", {**dict.fromkeys(("model", "args", "dataset", "tokenizer")), **TRL}),
        ("trainers/ms-swift.md", {}),
    ],
)
def test_a_pages_examples_run_in_their_order(
    page: str, given: dict[str, Any], server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orms: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "swift", ModuleType("swift"))
    monkeypatch.setitem(sys.modules, "swift.rewards", SimpleNamespace(orms=orms))
    monkeypatch.setenv("RM_CLIENT_URL", server_url)
    scope = dict(given)
    for example in examples(page):
        exec(example.replace("http://localhost:8000", server_url), scope)
    if page == "trainers/areal.md":
        assert isinstance(scope["reward_fn"]("p", "r"), float)
    if page == "trainers/trl.md":
        called = scope["trainer"]["reward_funcs"](prompts=["p"], completions=["r"])
        assert isinstance(asyncio.run(called)[0], float)
    if page == "trainers/ms-swift.md":
        chat = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
        (reward,) = orms["rewardd"](args=None)(["r"], messages=[chat], trainer_state=None)
        assert isinstance(reward, float)


def test_every_trainers_page_is_linked() -> None:
    linked = set(re.findall(r"\(trainers/([\w-]+\.md)\)", (DOCS / "client.md").read_text("utf-8")))
    assert linked == {path.name for path in (DOCS / "trainers").glob("*.md")}


PAGES = sorted(path.name for path in (DOCS / "trainers").glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_of_ours_is_there(page: str) -> None:
    text = (DOCS / "trainers" / page).read_text("utf-8")
    for module in re.findall(r"import (rm_client[\w.]+) as m", text):
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists()
    for path in re.findall(r"(rm_client\.adapters\.\w+\.\w+)", text):
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    for name in re.findall(r"\bname=(\w+)", text):
        if name not in ("naive", "remote"):  # verl's own
            assert callable(getattr(verl, name))
    for variable in re.findall(r"\bRM_CLIENT_\w+", text):
        assert variable in vars(environment).values()


@pytest.mark.parametrize("page", PAGES)
def test_an_address_that_a_page_gives_is_answered(page: str, server_url: str) -> None:
    text = (DOCS / "trainers" / page).read_text("utf-8")
    for address in re.findall(r"http://localhost:8000(/[^\s'\"`,)]+)", text):
        # A body of no known form: whoever is there says so, where a wrong path is a 404.
        answer = httpx.post(server_url + address, json={})
        assert answer.status_code == 422, address
    assert "k3" not in text or page == "ppo.md"


def test_the_first_example_passes_a_strict_type_checker(tmp_path: Path) -> None:
    first, *_ = examples("client.md")
    script = tmp_path / "first.py"
    script.write_text(first)
    found = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"),
            *("--config-file=", f"--cache-dir={tmp_path}", str(script)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def typed(
    client: RewardClient, items: list[ResponseItem], groups: list[GroupItem]
) -> None:  # never called: the project's own type checker reads it
    assert_type(client.score(items, on_item_error="raise"), ScoreReply[ResponseReply])
    assert_type(client.score(items), ScoreReply[ResponseReply | FailedReply])
    assert_type(client.score(groups, truncate="left"), ScoreReply[GroupReply | FailedReply])
    assert_type(client.info(), Info)
