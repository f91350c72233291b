"""One turn of a chat, as all routes read it: its text, and what else a chat template may use.

Content is a text or a list of parts. Parts with text are put end to end; any other (an image) is
refused, since a reward that left it out would be another text's.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_NAME_CHARACTERS = 64

_TEXT_FIELDS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
"""Kinds of parts that hold text, and where (OpenAI's chat completions and responses)."""
_TELLABLE = re.compile(r"[a-z_]{1,32}\Z")


class ContentPart(BaseModel):
    """A part of a message's content: a text, whatever else comes with it."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"type": "text", "text": "Is 27 prime?"}]},
    )

    type: str = Field(
        default="text",
        description="text, input_text, output_text or refusal; a part of another kind is refused.",
    )
    text: str = Field(default="", description="What is said.")

    @model_validator(mode="before")
    @classmethod
    def _with_text(cls, raw: object) -> object:
        if not isinstance(raw, Mapping):
            return raw
        kind = raw.get("type", "text")
        field = _TEXT_FIELDS.get(kind) if isinstance(kind, str) else None
        if field is None:
            told = kind if isinstance(kind, str) and _TELLABLE.match(kind) else "unknown"
            raise PydanticCustomError(
                "unsupported_part",
                "a part of type {kind} holds no text, and reward models here read text alone; "
                "leave it out or send its text",
                {"kind": told},
            )
        if field not in raw:
            raise PydanticCustomError(
                "unsupported_part", "a part of a message needs {field}", {"field": field}
            )
        return {"type": kind, "text": raw[field]}


def _content_form(value: object) -> str | None:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "text"
    return "parts" if isinstance(value, list | tuple) else None


Content = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[ContentPart], Tag("parts")]
    | Annotated[None, Tag("nothing")],
    Discriminator(
        _content_form,
        custom_error_type="content_type",
        custom_error_message="Content is a string or a list of parts.",
    ),
    Field(description="What is said: a text, or parts with text."),
]


def require_content(content: Content, role: str | None) -> Content:
    """The content, unless it is missing where only an assistant's or a tool's turn may have none.

    A user's turn without one is a chat in another project's form ("value", "text"): to read it
    as empty would score an answer to nothing.
    """
    if content is None and role not in ("assistant", "tool", None):
        raise PydanticCustomError("missing", "this turn needs a content")
    return content


class Turn(BaseModel):
    """What every form of a chat's turn has in common."""

    model_config = ConfigDict(validate_default=True)  # of a content that is left out

    role: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] = Field(
        description="Who speaks: system, user, assistant, or what the model's template knows.",
        examples=["user"],
    )
    content: Content = Field(default=None, examples=["How do I bleed a radiator?"])
    name: str | None = Field(default=None, description="Of the speaker, or of the tool.")
    tool_calls: list[dict[str, Any]] | None = Field(
        default=None,
        description="What the assistant calls, as OpenAI's API has it; read by chat templates that "
        "know tools.",
    )
    tool_call_id: str | None = Field(
        default=None, description="Of a tool's turn: which call it answers."
    )
    reasoning_content: str | None = Field(
        default=None, description="What the assistant thought, where a template reads that apart."
    )

    @field_validator("content")
    @classmethod
    def _says_something(cls, content: Content, info: ValidationInfo) -> Content:
        return require_content(content, info.data.get("role"))

    @property
    def text(self) -> str:
        """All text of the content, end to end."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""

    @property
    def template_fields(self) -> str:
        """What a template may read beside role and text, as a JSON object; "" for nothing."""
        fields: dict[str, Any] = {
            "name": self.name,
            "tool_calls": self.tool_calls and [_with_arguments(call) for call in self.tool_calls],
            "tool_call_id": self.tool_call_id,
            "reasoning_content": self.reasoning_content,
        }
        found = {name: value for name, value in fields.items() if value}
        if self.content is None:
            found["content"] = None
        return json.dumps(found, ensure_ascii=False) if found else ""


def _with_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call whose arguments are an object, as templates expect, where they came as JSON."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return dict(call)
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}
