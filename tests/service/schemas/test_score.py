import pytest

from rm_core.types import Dialogue, Message
from service.schemas.score import (
    CompareItem,
    GroupItem,
    MessagesItem,
    ResponseItem,
    StepsItem,
    score_item_model,
)


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        ({"prompt": "p", "response": "r"}, ResponseItem),
        ({"prompt": "p", "responses": []}, GroupItem),
        ({"messages": []}, MessagesItem),
        ({"prompt": "p", "steps": []}, StepsItem),
        ({}, ResponseItem),
        (None, ResponseItem),
        ([], ResponseItem),
    ],
)
def test_the_form_of_an_item_is_told_by_its_fields(raw, model):
    assert score_item_model(raw) is model


def test_every_form_stands_for_its_dialogues_and_points_back_into_itself():
    single = ResponseItem.model_validate({"prompt": "p", "response": "r"})
    group = GroupItem.model_validate({"prompt": "p", "responses": ["a", "b"]})
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    chat = MessagesItem.model_validate({"messages": turns})

    assert single.dialogues() == [Dialogue("p", "r")]
    assert group.dialogues() == [Dialogue("p", "a"), Dialogue("p", "b")]
    assert chat.dialogues() == [Dialogue((Message("user", "q"),), "r")]
    assert single.pointer_of(0, "response") == "/response"
    assert single.pointer_of(0, "elsewhere") == ""
    assert group.pointer_of(1, "response") == "/responses/1"
    assert group.pointer_of(1, "prompt") == "/prompt"
    assert chat.pointer_of(0, "response") == "/messages/1/content"
    assert chat.pointer_of(0, "prompt") == "/messages"


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt": "p", "responses": ["a", "b"], "is_safety": 1},
        {"prompt": "p", "responses": ["a", "b"], "is_safety": "true"},
        {"prompt": "p", "responses": ["a", 3]},
        {"prompt": b"p", "responses": ["a", "b"]},
        {"prompt": [], "responses": ["a", "b"]},
        {"prompt": [{"role": "", "content": "c"}], "responses": ["a", "b"]},
        {"prompt": [{"role": "r" * 65, "content": "c"}], "responses": ["a", "b"]},
        {"prompt": [{"role": "r", "content": "c", "name": "n"}], "responses": ["a", "b"]},
    ],
)
def test_nothing_is_converted_and_nothing_unknown_is_taken(raw):
    with pytest.raises(ValueError, match="validation error"):
        CompareItem.model_validate(raw)
