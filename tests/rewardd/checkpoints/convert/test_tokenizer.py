"""No text ends with the pad token, so that transformers reads where the project read."""

from pathlib import Path
from typing import Any

import pytest

from rewardd.checkpoints.convert.tokenizer import load_tokenizer, settle_padding, write_tokenizer
from rm_core.errors import CheckpointError
from tests.models import BOS, EOS, PAD, make_tokenizer
from training.modeling.reward_model import PAD_TOKEN

SIZE = len(make_tokenizer())


@pytest.mark.parametrize(
    ("rule", "pad_is_eos", "free_rows", "wanted"),
    [
        ("own", False, 60, PAD),
        ("own", True, 60, SIZE),  # a free row of the embedding gets one
        ("own", True, 0, BOS),  # no text ends with it
        ("eos", False, 60, EOS),
        ("keep", False, 60, 7),
    ],
)
def test_the_pad_token_is_one_that_no_text_ends_with_unless_the_layout_wants_it(
    rule: Any, pad_is_eos: bool, free_rows: int, wanted: int
) -> None:
    tokenizer = make_tokenizer(pad_is_eos=pad_is_eos)

    padding = settle_padding(tokenizer, rule, current=7, rows=SIZE + free_rows)

    changed = wanted in {SIZE, BOS, EOS}
    assert (padding.token_id, padding.changed) == (wanted, changed)
    assert (padding.note is not None) == (wanted in {SIZE, BOS})
    assert not changed or tokenizer.pad_token_id == wanted


def test_where_all_special_tokens_are_eos_nothing_pads() -> None:
    """GPT-2's tokenizer: BOS, EOS and UNK are one token, and every row is taken."""
    tokenizer = make_tokenizer(pad_is_eos=True)
    tokenizer.bos_token = tokenizer.unk_token = tokenizer.eos_token

    padding = settle_padding(tokenizer, "own", current=EOS, rows=len(tokenizer))

    assert padding.token_id is None
    assert padding.note is not None
    assert "one text at a time" in padding.note


def test_a_changed_tokenizer_is_written_anew_with_its_template(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(chat=True, pad_is_eos=True)
    tokenizer.save_pretrained(tmp_path / "source")
    settle_padding(tokenizer, "own", current=EOS, rows=320)
    (tmp_path / "out").mkdir()

    write_tokenizer(tokenizer, tmp_path / "source", tmp_path / "out", changed=True)

    found = load_tokenizer(tmp_path / "out")
    assert found.pad_token == PAD_TOKEN
    assert found.chat_template == tokenizer.chat_template


def test_a_directory_without_a_tokenizer_says_which_flag_helps(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--tokenizer"):
        load_tokenizer(tmp_path)
