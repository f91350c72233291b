import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest

from rewardd.demo.examples import EXAMPLES, HELDOUT, Example
from rewardd.demo.models import SAMPLE


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for role in ("safety", "helpfulness")
        for line in (SAMPLE / f"{role}.jsonl").read_text("utf-8").splitlines()
    ]


@pytest.mark.parametrize("text", HELDOUT, ids=lambda text: str(text["prompt"]))
def test_the_models_never_saw_an_example(
    text: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    splits = {record["split"] for record in records if record["prompt"] == text["prompt"]}

    assert splits == {"heldout"}


@pytest.mark.parametrize("text", HELDOUT, ids=lambda text: str(text["prompt"]))
def test_examples_stand_in_the_order_that_the_sample_gives_them(
    text: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    (record,) = [record for record in records if record["prompt"] == text["prompt"]]

    assert [record["responses"][index] for index in record["ranking"]] == text["responses"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path)
def test_a_shell_reads_the_curl_line_as_the_request_that_is_sent(example: Example) -> None:
    words = shlex.split(example.curl("http://127.0.0.1:8000"))

    assert words[:3] == ["curl", "-s", f"http://127.0.0.1:8000{example.path}"]
    assert json.loads(words[words.index("-d") + 1]) == example.body
