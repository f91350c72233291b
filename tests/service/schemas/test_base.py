import pytest
from pydantic import TypeAdapter, ValidationError

from rm_core.types import Message
from service.schemas.base import ChatMessage, Prompt, to_prompt

PROMPT: TypeAdapter[str | list[ChatMessage]] = TypeAdapter(Prompt)


@pytest.mark.parametrize(
    ("raw", "prompt"),
    [
        ("", ""),
        ("why?", "why?"),
        (
            [{"role": "system", "content": "short"}, {"role": "user", "content": "why?"}],
            (Message("system", "short"), Message("user", "why?")),
        ),
    ],
)
def test_a_prompt_is_a_text_or_a_chat(raw: object, prompt: object) -> None:
    assert to_prompt(PROMPT.validate_python(raw)) == prompt


@pytest.mark.parametrize("raw", [None, 3, {}, {"role": "user", "content": "c"}, True])
def test_anything_else_is_told_in_one_sentence(raw: object) -> None:
    with pytest.raises(ValidationError) as caught:
        PROMPT.validate_python(raw)

    (error,) = caught.value.errors()
    assert (error["type"], error["msg"]) == (
        "prompt_type",
        "A prompt is a string or a list of messages.",
    )


@pytest.mark.parametrize("raw", [[], ["text"], [{"role": "user"}], [{"role": "", "content": ""}]])
def test_a_chat_has_whole_messages(raw: object) -> None:
    with pytest.raises(ValidationError):
        PROMPT.validate_python(raw)
