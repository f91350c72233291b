"""What is wrong with a body is pointed at, in every dialect."""

from typing import Any

import pytest

from tests.service.dialects.tensors import INFER, tensor

WRONG: dict[str, list[tuple[dict[str, Any], str]]] = {
    "/get_reward": [
        ({"prompts": ["p"]}, "/query"),
        ({"prompts": ["a"], "responses": []}, "/responses"),
        ({"prompts": [1], "responses": ["x"]}, "/prompts/0"),
        ({"prompts": ["a"], "responses": [None]}, "/responses/0"),
        ({"responses": ["x"]}, "/prompts"),
    ],
    "/rm": [
        ({"prompt": "p"}, "/response"),
        ({"prompt": [{"role": "user", "content": 3}], "response": "r"}, "/prompt/0/content"),
        ({"prompt": None, "response": "r"}, "/prompt"),
        ({"prompt": [], "response": "r"}, "/prompt"),
        ({"prompt": [{"role": "user", "value": "q"}], "response": "r"}, "/prompt/0/content"),
    ],
    "/classify": [
        ({}, "/input"),
        ({"input": 3}, "/input"),
        ({"input": ["ok", 3]}, "/input/1"),
        ({"input": [1, "x"]}, "/input"),
        ({"input": "x", "truncate_prompt_tokens": 0}, "/truncate_prompt_tokens"),
        ({"input": "x", "use_activation": "no"}, "/use_activation"),
        ({"messages": [{"role": "user", "content": "x"}]}, "/messages"),
        ({"text": None}, "/text"),
        ({"text": ["a", 1]}, "/text/1"),
        ({"text": ["a"], "rid": []}, "/rid"),
        ({"input_ids": [[1.5]]}, "/input_ids/0"),
        ({"conv": [[{"role": "user", "content": "x"}]]}, "/conv"),
        ({"input": [3], "raw_scores": True}, "/input/0"),
        ({"input": ["x", 3], "raw_scores": False}, "/input/1"),
    ],
    "/pooling": [
        ({"input": "x", "task": task}, "/task")
        for task in ("token_classify", "embed", "token_embed", "plugin", "")
    ],
    "/rerank": [
        ({"query": "q"}, "/documents"),
        ({"query": "q", "documents": ["d", 3]}, "/documents/1"),
        ({"query": "q", "documents": [{"image": "x"}]}, "/documents/0"),
        ({"query": "q", "documents": [], "top_n": -1}, "/top_n"),
    ],
    "/v1/score": [
        ({"queries": ["a", "b"], "documents": ["c"]}, "/documents"),
        ({"text_1": ["a", 3], "text_2": ["c", "d"]}, "/text_1/1"),
        ({"data_1": "a", "data_2": [None]}, "/data_2/0"),
        ({"queries": "a"}, "/documents"),
        ({}, "/queries"),
    ],
    "/predict": [
        ({"inputs": 3}, "/inputs"),
        ({"inputs": ["a", "b", "c"]}, "/inputs"),
        ({"inputs": [["a"], ["b", 1]]}, "/inputs/1"),
    ],
    "/v1/chat/completions": [
        ({"messages": [{"role": "user", "content": "x"}]}, "/messages"),
        ({"messages": [], "stream": True}, "/stream"),
        ({"messages": [], "n": 2}, "/n"),
    ],
    "/": [
        ({"src": ["a"], "response": []}, "/response"),
        ({"src": [1], "response": ["a"]}, "/src/0"),
        ({"src": ["a"], "response": [None]}, "/response/0"),
        ({"src": ["a"]}, "/response"),
    ],
    INFER: [
        ({"inputs": inputs}, pointer)
        for inputs, pointer in (
            ([], "/inputs"),
            ([tensor("sentences", [2], ["a"])], "/inputs/0/shape"),
            ([tensor("sentences", [-1], ["a"])], "/inputs/0/shape"),
            ([tensor("sentences", [1], [3.5])], "/inputs/0/data/0"),
            (
                [tensor("tokens", [1, 2], [1, 2]), tensor("sequence_lengths", [1], [3])],
                "/inputs/1/data",
            ),
            (
                [tensor("tokens", [1, 2], [1, "x"]), tensor("sequence_lengths", [1], [1])],
                "/inputs/0/data",
            ),
            ([tensor("prompts", [1], ["p"]), tensor("responses", [0], [])], "/inputs/1/data"),
        )
    ]
    + [
        ({"inputs": [tensor("sentences", [1], ["a"])], "outputs": outputs}, pointer)
        for outputs, pointer in (
            ([{"name": "exceeded"}], "/outputs/0"),
            ([{"name": "rewards", "parameters": {"classification": 3}}], "/outputs/0"),
        )
    ],
}


@pytest.mark.parametrize("path", WRONG)
async def test_what_is_wrong_is_pointed_at(client, path):
    for body, pointer in WRONG[path]:
        reply = await client.post(path, json=body)

        assert reply.status_code == 422, body
        assert reply.json()["errors"][0]["pointer"] == pointer, body
