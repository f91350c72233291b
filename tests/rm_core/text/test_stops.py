"""The policy's own stop tokens are taken off; the model's own end of a turn takes their place."""

from typing import Any

import pytest

from rm_core.errors import EmptyText
from rm_core.text.encoder import TextEncoder
from rm_core.types import Dialogue, Message, RenderedText
from tests.models import EOS, make_tokenizer
from tests.rm_core.text.encoders import text_encoder

STOPS = ("<|im_end|>", "<|endoftext|>")
ENDS = (
    "<|im_end|>",
    "<|im_end|>\n",
    "<|im_end|><|endoftext|>",
    "<|im_end|> <|im_end|>",
    "<|im_end|></s>",
    "</s><|im_end|>",
)
LINE_BREAK = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<end>\n"
    "{% endfor %}"
)


def encoder(template: str | None = None, *, chat: bool = True, **more: Any) -> TextEncoder:
    tokenizer = make_tokenizer(chat=chat)
    if template is not None:
        tokenizer.chat_template = template
    return text_encoder(tokenizer, **more)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("template", [None, LINE_BREAK])
def test_a_foreign_stop_gives_way_to_the_models_own_end_everywhere(
    end: str, template: str | None
) -> None:
    reader = encoder(template)
    expected = reader.encode(Dialogue("ab", "cd"))
    prompt = "<s><user>ab</s><assistant>" if template is None else "<user>ab<end>\n<assistant>"

    found = [
        reader.encode(Dialogue("ab", "cd" + end, stops=STOPS)),
        reader.encode(Dialogue((Message("user", "ab"),), "cd" + end, stops=STOPS)),
        reader.encode(Dialogue(prompt, "cd" + end, rendered=True, stops=STOPS)),
        reader.encode(RenderedText(prompt + "cd" + end, len(prompt), stops=STOPS)),
    ]
    whole = reader.encode(RenderedText(prompt + "cd" + end, stops=STOPS))

    assert found == [expected] * 4
    assert whole.input_ids == expected.input_ids


@pytest.mark.parametrize("end", ENDS)
def test_without_a_template_the_contract_says_what_the_end_is(end: str) -> None:
    for eos in ("never", "if_absent", "closing"):
        reader = encoder(chat=False, eos=eos)
        expected = reader.encode(Dialogue("ab", "cd"))

        assert reader.encode(Dialogue("ab", "cd" + end, stops=STOPS)) == expected
        assert reader.encode(Dialogue("ab", "cd" + end, rendered=True, stops=STOPS)) == expected
        assert (expected.input_ids[-1] == EOS) == (eos != "never")


def test_a_responses_own_end_stays_where_the_template_writes_none() -> None:
    reader = encoder("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}")

    ended = reader.encode(Dialogue("ab", "cd</s>"))

    assert ended.input_ids == (*reader.encode(Dialogue("ab", "cd")).input_ids, EOS)
    assert "missing_eos" not in ended.warnings
    closed = encoder(LINE_BREAK)
    assert closed.encode(Dialogue("ab", "cd</s>")) == closed.encode(Dialogue("ab", "cd"))


def test_a_text_that_ends_without_a_foreign_stop_stays_as_it_is() -> None:
    reader = encoder()

    for text in ("<s><user>ab</s><assistant>cd", "<s><user>ab</s><assistant>cd</s>"):
        assert reader.encode(RenderedText(text, stops=STOPS)) == reader.encode(RenderedText(text))
    plain = encoder(chat=False)
    assert plain.encode(Dialogue("a", "b</s>", stops=STOPS)) == plain.encode(Dialogue("a", "b</s>"))


def test_only_what_is_named_and_stands_at_the_end_is_taken_off() -> None:
    reader = encoder()

    named = reader.encode(Dialogue("ab", "c<|im_end|>d", stops=STOPS))
    unnamed = reader.encode(Dialogue("ab", "cd<|im_end|>", stops=("<|eot_id|>",)))

    assert named == reader.encode(Dialogue("ab", "c<|im_end|>d"))
    assert unnamed == reader.encode(Dialogue("ab", "cd<|im_end|>"))
    assert unnamed != reader.encode(Dialogue("ab", "cd"))


def test_the_prompts_own_end_is_none_of_the_responses() -> None:
    prompt = "<s><user>ab<|im_end|>"

    found = encoder().encode(RenderedText(prompt + "<|im_end|>", len(prompt), stops=STOPS))

    assert found.input_ids == encoder().encode(RenderedText(prompt + "</s>")).input_ids


def test_a_response_of_stops_alone_is_empty() -> None:
    with pytest.raises(EmptyText):
        encoder().encode(Dialogue("ab", "<|im_end|>", stops=STOPS))
    assert encoder().encode(
        Dialogue("ab", "<|im_end|>", allow_empty=True, stops=STOPS)
    ) == encoder().encode(Dialogue("ab", "", allow_empty=True))


def test_a_stop_of_white_space_is_taken_off_too() -> None:
    assert encoder().encode(Dialogue("a", "b\n\n", stops=("\n\n",))) == encoder().encode(
        Dialogue("a", "b")
    )
