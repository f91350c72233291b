"""What the wire's models are made of: strict requests, lenient replies, prompts and chats."""

from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from rm_client.turns import Turn

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 64


class Sent(BaseModel):
    """What a caller sends: strict."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a text may be private
    )


class Received(BaseModel):
    """What the server answers: further fields are let pass, though none are documented."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        json_schema_extra={"additionalProperties": False},
    )


AnyReceived = TypeVar("AnyReceived", bound=Received)


def selected_has_a_reward(reply: AnyReceived) -> AnyReceived:
    """A reply as it came.

    Raises:
        ValueError: it tells whose reward was selected and not the reward, or the other way round.
    """
    selected, reward = getattr(reply, "selected", None), getattr(reply, "selected_reward", None)
    if (selected is None) != (reward is None):
        raise ValueError("selected and selected_reward go together")
    return reply


def examples(example: dict[str, Any]) -> ConfigDict:
    """A configuration that adds an example to the schema."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class ChatMessage(Turn, Sent):
    """One turn of a chat."""

    model_config = examples({"role": "user", "content": "How do I bleed a radiator?"})


def _prompt_form(value: object) -> str | None:
    if isinstance(value, str):
        return "text"
    return "messages" if isinstance(value, list) else None


Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[ChatMessage], Field(min_length=1), Tag("messages")],
    Discriminator(
        _prompt_form,
        custom_error_type="prompt_type",
        custom_error_message="A prompt is a string or a list of messages.",
    ),
    Field(
        description="What the policy was asked: a text, or the chat before the response.",
        examples=["How do I bleed a radiator?"],
    ),
]

StopToken = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


class TextItem(Sent):
    """What all items have in common."""

    allow_empty: bool = Field(
        default=False,
        description="True if a response without text is scored like any other, as policies do "
        "write them; otherwise it is an error of its item.",
    )


class PromptItem(TextItem):
    """What items with a prompt of their own have in common."""

    prompt: Prompt
    rendered: bool = Field(
        default=False,
        description="True if `prompt` is a text that has been through a chat template already: no "
        "template is applied, the response is appended as it stands, and BOS and EOS are added "
        "only where they are wanted and absent.",
    )

    @field_validator("rendered")
    @classmethod
    def _of_a_text(cls, rendered: bool, info: ValidationInfo) -> bool:
        if rendered and isinstance(info.data.get("prompt"), list):
            raise PydanticCustomError(
                "rendered_messages",
                "messages go through the model's chat template; leave rendered out, or send the "
                "rendered text as prompt",
            )
        return rendered


IsSafety = Annotated[
    bool,
    Field(
        description="True if the prompt is known to be adversarial or about safety: the safety "
        "reward is then selected whatever its score (LLaMA-2 §3.2.2).",
    ),
]
