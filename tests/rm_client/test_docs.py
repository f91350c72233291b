"""The examples of the documentation work as they are written."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "guides"


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
    ],
)
def test_a_pages_examples_run_in_their_order(
    page: str, given: dict[str, Any], server_url: str
) -> None:
    scope = dict(given)
    for example in examples(page):
        exec(example.replace("http://localhost:8000", server_url), scope)
    if page == "trainers/areal.md":
        assert isinstance(scope["reward_fn"]("p", "r"), float)


def test_every_trainers_page_is_linked() -> None:
    linked = set(re.findall(r"\(trainers/(\w+\.md)\)", (DOCS / "client.md").read_text("utf-8")))
    assert linked == {path.name for path in (DOCS / "trainers").glob("*.md")}


@pytest.mark.parametrize("page", ["verl", "openrlhf"])
def test_the_file_that_a_page_names_is_there(page: str) -> None:
    text = (DOCS / "trainers" / f"{page}.md").read_text("utf-8")
    (module,) = re.findall(r"import (rm_client[\w.]+) as m", text)
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists()
