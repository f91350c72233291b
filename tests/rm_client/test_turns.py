"""One reader of a turn's content, for native routes and dialects alike."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from rm_client.models_base import ChatMessage
from service.dialects.nemo_gym import ResponsesEntry
from service.dialects.texts import Turn

FORMS = (ChatMessage, Turn)
IMAGE = {"type": "image_url", "image_url": {"url": "data:…"}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("ab", "ab"),
        ([{"type": "text", "text": "a"}, {"text": "b"}], "ab"),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab"),
        ([{"type": "output_text", "text": "ab", "annotations": [], "logprobs": None}], "ab"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
        ([], ""),
    ],
)
def test_text_parts_are_put_end_to_end(form: Any, content: Any, text: str) -> None:
    turn = form.model_validate({"role": "user", "content": content})

    assert (turn.text, turn.template_fields) == (text, "")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("part", "told"),
    [
        (IMAGE, "image_url"),
        ({"type": "input_audio"}, "input_audio"),
        ({"type": "My Secret"}, "unknown"),
        ({"type": 3, "text": "a"}, "unknown"),
        ({"type": "text"}, "text"),
        ({}, "text"),
    ],
)
def test_a_part_without_text_is_refused_by_its_name(form: Any, part: Any, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        form.model_validate({"role": "user", "content": [{"text": "a"}, part]})

    (error,) = refused.value.errors()
    assert error["type"] == "unsupported_part"
    assert told in error["msg"]
    assert "Secret" not in error["msg"]


def test_a_turn_may_be_without_content_where_tools_are_called() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"x": 3}'}}, {"function": "odd"}]
    turn = ChatMessage.model_validate({"role": "assistant", "content": None, "tool_calls": calls})

    assert turn.text == ""
    assert json.loads(turn.template_fields) == {
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": {"x": 3}}}, {"function": "odd"}],
    }
    assert Turn(role="assistant").text == Turn(role="tool", content=None).text == ""


@pytest.mark.parametrize("form", [ChatMessage, Turn, ResponsesEntry])
@pytest.mark.parametrize("more", [{"content": None}, {}, {"value": "How do I bleed a radiator?"}])
def test_no_other_turn_may(form: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        form.model_validate({"role": "user", **more})

    assert "needs a content" in str(refused.value)


def test_what_tool_turns_hold_travels_to_the_template() -> None:
    turn = ChatMessage(
        role="tool", content="9", name="f", tool_call_id="1", reasoning_content="h\ud800"
    )

    assert json.loads(turn.template_fields) == {
        "name": "f",
        "tool_call_id": "1",
        "reasoning_content": "h\ud800",
    }
    with pytest.raises(ValidationError):
        ChatMessage.model_validate({"role": "user", "content": "a", "colour": "red"})
