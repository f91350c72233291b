"""From a dialogue to the text that is tokenised, and the response's place in it."""

from dataclasses import dataclass

from rm_core.errors import EmptyText, InvalidMessages, NoChatTemplate
from rm_core.text.contract import EosRule
from rm_core.text.template import ChatTemplate, as_turn
from rm_core.types import Dialogue, Message, TextWarning


@dataclass(frozen=True, slots=True)
class DialogueText:
    """A dialogue as text.

    Attributes:
        text: what is tokenised.
        border: index of the response's first character; None where it isn't there whole.
        warnings: of what became of it.
    """

    text: str
    border: int | None
    warnings: tuple[TextWarning, ...] = ()


def render(
    dialogue: Dialogue, template: ChatTemplate | None, eos: EosRule, tail: str
) -> DialogueText:
    """The text of a dialogue.

    Args:
        dialogue: without stop tokens at its end.
        template: what renders it; None: prompt and response are put end to end.
        eos: the contract's rule.
        tail: what a response ends with that no template ends.

    Raises:
        EmptyText: there is no text.
        InvalidMessages: the prompt is messages that nothing renders, or that the template refuses.
    """
    if template is None or dialogue.rendered:
        prompt = _text_prompt(dialogue)
        whole = prompt + dialogue.response + tail
        if dialogue.rendered and not whole.strip():
            raise EmptyText("the text is empty", field="response")
        found = DialogueText(whole, len(prompt))
    else:
        found = _through_template(template, dialogue, is_ended=eos != "never")
    text = without_line_breaks(found.text, eos)
    border = None if found.border is None else min(found.border, len(text))
    return DialogueText(text, border, found.warnings)


def without_line_breaks(text: str, eos: EosRule) -> str:
    """The text, without line breaks at its end where the contract wants EOS there."""
    return text.rstrip("\n") if eos == "closing" else text


def _through_template(
    template: ChatTemplate, dialogue: Dialogue, *, is_ended: bool
) -> DialogueText:
    prompt = dialogue.prompt
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    response = Message("assistant", dialogue.response, dialogue.response_fields)
    messages = list(map(as_turn, (*turns, response)))
    text = template.render(messages)
    border = template.border(text, messages)
    said: dict[TextWarning, bool] = {
        "prompt_already_rendered": template.may_have_rendered(_asked(turns)),
        "response_changed": border is None,
        "dated_template": template.is_dated_in(messages),
        "unfinished_template": template.is_unfinished and not is_ended,
    }
    return DialogueText(text, border, tuple(name for name, holds in said.items() if holds))


def _text_prompt(dialogue: Dialogue) -> str:
    if isinstance(dialogue.prompt, str):
        return dialogue.prompt
    if dialogue.rendered:
        raise InvalidMessages("messages are not rendered yet; leave `rendered` out", field="prompt")
    raise NoChatTemplate(
        "the model has no chat template for messages; send the prompt as a string", field="prompt"
    )


def _asked(turns: tuple[Message, ...]) -> str:
    """The last turn of the user."""
    return next((turn.content for turn in reversed(turns) if turn.role == "user"), "")
