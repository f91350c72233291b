"""What all wire models are made of: strictness, prompts and chats."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from rm_core.types import Message

MAX_NAME_CHARACTERS = 64


class Strict(BaseModel):
    """A model that takes no unknown field and converts nothing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ChatMessage(Strict):
    """One turn of a chat."""

    role: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] = Field(
        description="Who speaks: system, user, assistant, or what the model's template knows.",
        examples=["user"],
    )
    content: str = Field(description="What is said.", examples=["How do I bleed a radiator?"])

    def to_message(self) -> Message:
        """The domain's value."""
        return Message(self.role, self.content)


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
"""A prompt on the wire; other routes' models use it too."""

IsSafety = Annotated[
    bool,
    Field(
        description="True if the prompt is known to be adversarial or about safety: the safety "
        "reward is then selected whatever its score (LLaMA-2 §3.2.2).",
    ),
]


def to_prompt(prompt: str | list[ChatMessage]) -> str | tuple[Message, ...]:
    """The domain's form of a wire prompt."""
    if isinstance(prompt, str):
        return prompt
    return tuple(message.to_message() for message in prompt)
