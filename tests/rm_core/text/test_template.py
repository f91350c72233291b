"""What templates do to a text, and what is told of it: changed, dated, open, wrapped twice."""

import json
from datetime import datetime
from typing import Any

import pytest

from rm_core.errors import (
    ConfigurationError,
    InputTooLong,
    InvalidMessages,
    ResponseNotFound,
    TemplateChangesResponse,
)
from rm_core.text.encoder import TextEncoder
from rm_core.text.template import ChatTemplate
from rm_core.types import Dialogue, Message, RenderedText, TokenIds
from tests.models import CHAT_TEMPLATE, make_tokenizer
from tests.rm_core.text.encoders import text_encoder

TURN = "{% for m in messages %}<{{ m['role'] }}>"
WITHOUT_THINKING = (
    TURN + "{% if m['role'] == 'assistant' and '</think>' in m['content'] %}"
    "{{ m['content'].split('</think>')[-1] }}{% else %}{{ m['content'] }}{% endif %}"
    "</s>{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
)
DATED = (
    "{% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token }}<system>{{ today }}</s>" + TURN + "{{ m['content'] }}</s>{% endfor %}"
)
DATED_BY_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<system>{{ strftime_now(\"%Y-%m-%d\") }}</s>"
    "{% endif %}" + TURN + "{{ m['content'] }}</s>{% endfor %}"
)
OPEN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"


def tokenizer_of(template: str) -> Any:
    tokenizer = make_tokenizer(chat=True)
    tokenizer.chat_template = template
    return tokenizer


def encoder(template: str, **more: Any) -> TextEncoder:
    return text_encoder(tokenizer_of(template), **more)


def test_a_response_that_the_template_cuts_is_told_and_never_cut_again_in_silence() -> None:
    reader = encoder(WITHOUT_THINKING, max_length=64)
    changed = Dialogue("ab", "some thought</think>cd")

    encoded = reader.encode(changed)

    assert encoded.warnings == ("response_changed",)
    assert encoded.num_prompt_tokens is None
    long = Dialogue("p" * 80, "thought</think>" + "c" * 40)
    with pytest.raises(ResponseNotFound):
        reader.encode(long, truncate="prompt")
    assert reader.encode(long, truncate="left").num_tokens == 64
    with pytest.raises(TemplateChangesResponse):
        reader.encode(Dialogue("ab", "t</think>cd", read_at="tokens"))


def test_a_response_whose_words_stand_elsewhere_in_the_text_is_not_taken_for_found() -> None:
    upper = TURN + "{{ m['content'] | upper if m['role'] == 'assistant' else m['content'] }}"
    reader = encoder(upper + "</s>{% endfor %}")

    encoded = reader.encode(Dialogue("abc", "ab"))

    assert (encoded.num_prompt_tokens, encoded.warnings) == (None, ("response_changed",))


@pytest.mark.parametrize("response", ["cd", "  cd\n", "a", "", "</think>", "s>"])
def test_a_response_that_is_there_whole_has_its_border(response: str) -> None:
    reader, tokenizer = encoder(GEMMA), tokenizer_of(GEMMA)

    encoded = reader.encode(Dialogue("a s>", response, allow_empty=True))

    assert encoded.warnings == ()
    rest = tokenizer.decode(encoded.input_ids[encoded.num_prompt_tokens :])
    assert rest == response.strip() + "<end_of_turn>\n"


def test_the_border_is_found_before_another_end_than_usual() -> None:
    reader = encoder(TURN + "{{ m['content'] }}{{ '!' * (m['content'] | length) }}{% endfor %}")

    encoded = reader.encode(Dialogue("ab", "cde"))

    assert encoded.num_prompt_tokens == len("<user>ab!!<assistant>")
    assert "response_changed" not in encoded.warnings


def test_a_template_that_wants_other_roles_has_borders_too() -> None:
    reader = encoder(
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }};{% endfor %}"
    )

    encoded = reader.encode(Dialogue((Message("judge", "ab"),), "cd"))

    assert encoded.num_prompt_tokens == len("<judge>ab;<assistant>")


@pytest.mark.parametrize("end", ["<end_of_turn>\n", "<end_of_turn>"])
def test_the_templates_own_end_is_an_end(end: str) -> None:
    reader = encoder(GEMMA)
    text = "<s><start_of_turn>user\nab<end_of_turn>\n<start_of_turn>assistant\ncd"
    ids = tuple(tokenizer_of(GEMMA)(text + end, add_special_tokens=False).input_ids)

    assert reader.encode(Dialogue("ab", "cd")).warnings == ()
    assert reader.encode(RenderedText(text + end)).warnings == ()
    assert reader.encode(TokenIds(ids)).warnings == ()
    assert reader.encode(RenderedText(text)).warnings == ("missing_eos",)
    assert reader.encode(TokenIds(ids[:-13])).warnings == ("missing_eos",)


def test_only_a_templates_own_words_are_told_of_its_errors() -> None:
    system = (Message("system", "be kind"), Message("user", "ab"))
    with pytest.raises(InvalidMessages, match=r"refused the messages \(System role not supported"):
        encoder(GEMMA).encode(Dialogue(system, "cd"))

    quoting = encoder("{{ raise_exception('no ' + messages[0]['content']) }}")
    with pytest.raises(InvalidMessages, match=r"\(TemplateError\)"):
        quoting.encode(Dialogue("secret", "cd"))


@pytest.mark.parametrize("template", [DATED, DATED_BY_DEFAULT])
def test_a_text_with_todays_date_is_told(template: str) -> None:
    reader = encoder(template)
    today = datetime.now().strftime("%d %b %Y" if template == DATED else "%Y-%m-%d")  # noqa: DTZ005
    encoded = reader.encode(Dialogue("ab", "cd"))
    with_system = reader.encode(Dialogue((Message("system", "s"), Message("user", "ab")), "cd"))

    assert encoded.warnings == ("dated_template",)
    assert today in tokenizer_of(template).decode(encoded.input_ids)
    assert ("dated_template" in with_system.warnings) == (template == DATED)
    assert reader.template is not None
    assert reader.template.is_dated
    assert not ChatTemplate(make_tokenizer(chat=True)).is_dated


@pytest.mark.parametrize("template", [DATED, DATED_BY_DEFAULT, "\n  " + DATED])
def test_the_date_can_be_set(template: str) -> None:
    reader = encoder(template, template_date="2024-07-26")

    encoded = reader.encode(Dialogue("ab", "cd"))

    said = "26 Jul 2024" if DATED in template else "2024-07-26"
    plain = template.replace('strftime_now("%Y-%m-%d")', "'2024-07-26'")
    plain = plain.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")
    assert encoded.input_ids == encoder(plain).encode(Dialogue("ab", "cd")).input_ids
    assert said in make_tokenizer().decode(encoded.input_ids)
    assert encoded.warnings == ()
    assert reader.contract.to_json()["template_date"] == "2024-07-26"
    assert "template_date" not in encoder(template).contract.to_json()


def test_a_date_that_can_not_be_set_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="such as 2026-11-30"):
        encoder(DATED, template_date="yesterday")
    with pytest.raises(ConfigurationError, match="makes up the format"):
        encoder("{{ strftime_now('%d' + '%b') }}" + CHAT_TEMPLATE, template_date="2024-07-26")


def test_a_template_that_leaves_the_turn_open_is_told_unless_the_contract_ends_it() -> None:
    dialogue = Dialogue("ab", "cd")

    assert "unfinished_template" in encoder(OPEN).encode(dialogue).warnings
    assert encoder(OPEN, eos="if_absent").encode(dialogue).warnings == ()
    assert encoder(CHAT_TEMPLATE).encode(dialogue).warnings == ()


RENDERED = "<s><user>ab</s><assistant>"


@pytest.mark.parametrize("prompt", [RENDERED, RENDERED.removeprefix("<s>"), "<s>ab"])
def test_a_prompt_that_looks_rendered_is_told(prompt: str) -> None:
    reader = encoder(CHAT_TEMPLATE)
    turns = (Message("system", "s"), Message("user", prompt))

    assert reader.encode(Dialogue(prompt, "cd")).warnings == ("prompt_already_rendered",)
    assert reader.encode(Dialogue(turns, "cd")).warnings == ("prompt_already_rendered",)
    assert reader.encode(Dialogue(prompt, "cd</s>", rendered=True)).warnings == ()
    assert reader.encode(Dialogue("ab < c", "<s>")).warnings == ()


def test_role_tokens_of_a_template_without_special_tokens_are_known_too() -> None:
    reader = encoder("{% for m in messages %}[{{ m['role'] }}]: {{ m['content'] }}\n{% endfor %}")

    told = reader.encode(Dialogue("[user]: ab\n[assistant]: ", "cd")).warnings

    assert "prompt_already_rendered" in told
    assert "prompt_already_rendered" not in reader.encode(Dialogue("[a]: b", "cd")).warnings


TOOLS = (
    TURN + "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{% if m.content is defined %}{{ m.content }}{% else %}none{% endif %}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}={{ call.function.arguments.x }}"
    "{% endfor %}{% if m.tool_call_id %}#{{ m.tool_call_id }}{% endif %}</s>{% endfor %}"
)


def test_templates_read_what_turns_hold_beside_their_content() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": 3}}}
    calling = json.dumps({"content": None, "tool_calls": [call]})
    turns = (
        Message("user", "ab"),
        Message("assistant", "", calling),
        Message("tool", "9", json.dumps({"tool_call_id": "1", "name": "f"})),
    )
    reader = encoder(TOOLS)

    encoded = reader.encode(Dialogue(turns, "cd", response_fields='{"reasoning_content": "hm"}'))
    only_a_call = reader.encode(Dialogue("ab", "", response_fields=calling))

    text = make_tokenizer().decode(encoded.input_ids)
    assert text == "<user>ab</s><assistant>nonef=3</s><tool>9#1</s><assistant>(hm)cd</s>"
    assert make_tokenizer().decode(only_a_call.input_ids).endswith("<assistant>nonef=3</s>")
    prompt = text.index("cd</s>") - 3 * len("</s>") + 3  # each </s> is one token
    assert encoded.num_prompt_tokens == prompt


def test_a_long_text_of_a_known_border_names_the_part_that_is_too_long() -> None:
    with pytest.raises(InputTooLong) as refused:
        encoder(CHAT_TEMPLATE, max_length=20).encode(Dialogue("p" * 40, "r"))
    assert refused.value.field == "prompt"
