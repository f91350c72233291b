"""From characters to tokens: each token's place in the response, each step's last token."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.errors import DetailUnavailable, InputError
from rm_core.text.contract import default_contract
from rm_core.text.encoder import TextEncoder
from rm_core.text.positions import Tokenised, extra_positions_of, num_prompt_tokens
from rm_core.types import Dialogue, Encoded, Message, ReadAt, ReadPosition
from tests.models import BOS, EOS, make_tokenizer
from tests.rm_core.text.encoders import text_encoder


def read(given: TextEncoder, prompt: str, response: str, at: ReadAt, **more: Any) -> Encoded:
    return given.encode(Dialogue(prompt, response, read_at=at), **more)


def test_each_token_stands_for_its_own_characters() -> None:
    encoded = read(text_encoder(make_tokenizer()), "ab", "cde", "tokens")

    assert encoded.extra_positions == (
        ReadPosition(2, 0, 1, "c"),
        ReadPosition(3, 1, 2, "d"),
        ReadPosition(4, 2, 3, "e"),
    )


@pytest.mark.parametrize("bos", ["tokenizer", "if_absent"])
@pytest.mark.parametrize("prompt", ["", "<s>", "ab", "<s>ab"])
def test_what_is_added_in_front_moves_the_positions_and_eos_has_a_name(
    bos: str, prompt: str
) -> None:
    text = text_encoder(make_tokenizer(add_bos=bos == "tokenizer"), bos=bos, eos="if_absent")

    encoded = read(text, prompt, "cd", "tokens")

    assert encoded.input_ids.count(BOS) == 1
    *response, eos = encoded.extra_positions
    assert [(place.start, place.end, place.text) for place in response] == [
        (0, 1, "c"),
        (1, 2, "d"),
    ]
    assert [encoded.input_ids[place.position] for place in response] == [99 - 33, 100 - 33]
    assert eos == ReadPosition(encoded.num_tokens - 1, 2, 2, "</s>")
    assert encoded.input_ids[-1] == EOS


def test_an_eos_that_the_tokenizer_adds_is_a_place_without_characters() -> None:
    encoded = read(text_encoder(make_tokenizer(add_eos=True)), "ab", "c", "tokens")

    assert encoded.extra_positions == (ReadPosition(2, 0, 1, "c"), ReadPosition(3, 1, 1, "</s>"))


def test_tokens_end_at_the_position_that_is_read() -> None:
    text = TextEncoder(
        make_tokenizer(pad_is_eos=True),
        default_contract(make_tokenizer(), max_length=512),
        pad_token_id=EOS,
    )

    encoded = read(text, "p", "ab</s>", "tokens")
    nothing = read(text, "p", "</s>", "tokens")

    assert [place.text for place in encoded.extra_positions] == ["a", "b"]
    assert encoded.extra_positions[-1].position == encoded.read_position
    assert nothing.extra_positions == ()


def test_a_prompt_that_was_cut_moves_the_positions_only() -> None:
    text = text_encoder(make_tokenizer(add_bos=True), max_length=8)

    encoded = read(text, "0123456789", "abc", "tokens", truncate="prompt")

    assert encoded.num_tokens == 8
    assert [(p.position, p.text) for p in encoded.extra_positions] == [(5, "a"), (6, "b"), (7, "c")]
    with_steps = read(text, "0123456789", "abc", (1, 3), truncate="prompt")
    assert [p.position for p in with_steps.extra_positions] == [5, 7]


def test_a_character_of_several_tokens_stands_with_each() -> None:
    encoded = read(text_encoder(make_tokenizer()), "p", "é!", "tokens")

    assert [(p.start, p.end, p.text) for p in encoded.extra_positions] == [
        (0, 1, "é"),
        (0, 1, "é"),
        (1, 2, "!"),
    ]
    assert [
        p.position for p in read(text_encoder(make_tokenizer()), "p", "é!", (1,)).extra_positions
    ] == [2]


def test_a_token_on_the_border_belongs_to_the_response_with_what_it_has_of_it() -> None:
    offsets = [(0, 2), (2, 5), (5, 6)]
    tokenised = Tokenised(Dialogue("abc", "def", read_at="tokens"), 3, offsets)
    encoded = Encoded((7, 8, 9), 2, tokenised.num_prompt_tokens)

    found = extra_positions_of(tokenised, encoded, str, stripped=False)

    assert encoded.num_prompt_tokens == 1
    assert found == (ReadPosition(1, 0, 2, "de"), ReadPosition(2, 2, 3, "f"))


@given(
    prompt=st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=8),
    steps=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=6),
        min_size=1,
        max_size=5,
    ),
)
def test_a_step_ends_at_the_token_of_its_last_character(prompt: str, steps: list[str]) -> None:
    response = "".join(steps)
    if not response.strip():
        return
    text = text_encoder(make_tokenizer())
    ends = tuple(len("".join(steps[: n + 1])) for n in range(len(steps)))

    encoded = read(text, prompt, response, ends)

    # Bytes are tokens here, so that the position can be told by counting them.
    expected = [len((prompt + response[:end]).encode()) - 1 for end in ends]
    assert [place.position for place in encoded.extra_positions] == expected
    assert [place.text for place in encoded.extra_positions] == steps


def test_a_step_that_ends_within_a_token_is_read_there() -> None:
    offsets = [(0, 1), (1, 4), (4, 5)]  # "p", "a.\n", "b"
    tokenised = Tokenised(Dialogue("p", "a.\nb", read_at=(2, 4)), 1, offsets)

    found = extra_positions_of(tokenised, Encoded((1, 2, 3), 2, 1), str, stripped=False)

    assert [place.position for place in found] == [1, 2]


def test_white_space_without_offsets_ends_its_step() -> None:
    # As ByteLevel trims them: the line break at 3..5 has the empty offset (5, 5).
    offsets = [(0, 1), (1, 3), (5, 5), (5, 6)]
    tokenised = Tokenised(Dialogue("p", "a.\n\nb", read_at=(2, 4, 5)), 1, offsets)

    found = extra_positions_of(tokenised, Encoded((1, 2, 3, 4), 3, 1), str, stripped=False)

    assert [place.position for place in found] == [1, 2, 3]


def test_in_a_chat_the_templates_own_tokens_end_the_list() -> None:
    text = text_encoder(make_tokenizer(chat=True))
    prompt = (Message("user", "hi"),)

    encoded = text.encode(Dialogue(prompt, " ok ", read_at="tokens"))

    # The template keeps the blank behind the response, which the rendering takes for its own.
    assert [(p.start, p.end, p.text) for p in encoded.extra_positions] == [
        (1, 2, "o"),
        (2, 3, "k"),
        (3, 3, "Ġ"),
        (3, 3, "</s>"),
    ]
    assert encoded.extra_positions[-1].position == encoded.read_position
    assert encoded.extra_positions[-1].text == "</s>"
    (step,) = text.encode(Dialogue(prompt, " ok ", read_at=(4,))).extra_positions
    assert (
        encoded.input_ids[step.position] == encoded.input_ids[encoded.extra_positions[1].position]
    )


def test_a_response_with_the_templates_own_words_is_found_where_it_stands() -> None:
    tokenizer = make_tokenizer(chat=True)
    tokenizer.chat_template = tokenizer.chat_template.replace("{% endfor %}", " end{% endfor %}")

    encoded = text_encoder(tokenizer).encode(Dialogue("q", "end", read_at="tokens"))

    assert "".join(place.text for place in encoded.extra_positions[:3]) == "end"
    assert [place.end for place in encoded.extra_positions[:4]] == [1, 2, 3, 3]


def test_a_template_that_changes_the_response_is_told() -> None:
    tokenizer = make_tokenizer(chat=True)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content']", "message['content']|upper"
    )
    text = text_encoder(tokenizer)

    assert text.encode(Dialogue("q", "abc")).num_tokens
    with pytest.raises(DetailUnavailable, match="template changes"):
        text.encode(Dialogue("q", "abc", read_at="tokens"))


def test_a_step_without_a_token_is_told_by_its_number() -> None:
    with pytest.raises(InputError, match="step 0") as caught:
        text_encoder(make_tokenizer(chat=True)).encode(Dialogue("q", "  ok", read_at=(1, 4)))

    assert caught.value.field == "response"


def test_a_tokenizer_without_offsets_is_told() -> None:
    tokenised = Tokenised(Dialogue("p", "r", read_at="tokens"), 1, None)

    with pytest.raises(DetailUnavailable, match="fast tokenizer"):
        extra_positions_of(tokenised, Encoded((1, 2), 1), str, stripped=False)


@pytest.mark.parametrize(
    ("offsets", "border", "count"),
    [
        (None, 3, None),
        ([(0, 2), (2, 4), (4, 6)], 4, 2),
        ([(0, 2), (2, 4), (4, 6)], 3, 1),
        ([(0, 0), (0, 2), (2, 4), (0, 0)], 2, 2),
        ([(0, 0), (0, 2), (0, 0)], 2, 3),
    ],
)
def test_the_prompts_tokens_are_those_before_the_responses_first_character(
    offsets: Any, border: int, count: int | None
) -> None:
    assert num_prompt_tokens(offsets, border) == count


def test_nothing_more_is_read_unless_it_is_asked_for() -> None:
    assert read(text_encoder(make_tokenizer()), "p", "r", "end").extra_positions == ()
