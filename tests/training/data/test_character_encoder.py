import pytest

from rm_core.errors import EmptyText, InputError
from rm_core.types import Dialogue, Message, TokenIds
from training.data.character_encoder import CharacterEncoder


def test_each_character_is_a_token_and_the_end_is_read() -> None:
    encoded = CharacterEncoder().encode(Dialogue("Why? ", "So é"))

    assert "".join(map(chr, encoded.input_ids)) == "Why? So é"
    assert (encoded.read_position, encoded.num_prompt_tokens) == (8, 5)


def test_steps_are_read_at_their_last_character() -> None:
    dialogue = Dialogue((Message("user", "Q"),), "one\ntwo", read_at=(4, 7))

    places = CharacterEncoder().encode(dialogue).extra_positions

    assert [(place.position, place.text) for place in places] == [(4, "one\n"), (7, "two")]


def test_what_a_model_would_refuse_is_refused() -> None:
    for dialogue, error in (
        (Dialogue("Q", " \n"), EmptyText),
        (Dialogue("Q", "\ud800"), InputError),
        (TokenIds((1, 2)), InputError),
    ):
        with pytest.raises(error):
            CharacterEncoder().encode(dialogue)
