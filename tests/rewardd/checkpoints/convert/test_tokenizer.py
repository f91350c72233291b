"""No text ends with the pad token, so that transformers reads where the project read."""

from pathlib import Path
from typing import Any

import pytest

from rewardd.checkpoints.convert.tokenizer import load_tokenizer, settle_padding, write_tokenizer
from rm_core.errors import CheckpointError
from tests.models import BOS, EOS, PAD, make_tokenizer
from training.modeling.reward_model import PAD_TOKEN


def test_a_pad_token_of_its_own_is_kept() -> None:
    tokenizer = make_tokenizer()

    padding = settle_padding(tokenizer, "own", current=EOS, rows=320)

    assert (padding.token_id, padding.changed, padding.note) == (PAD, False, None)


def test_where_the_pad_token_is_eos_a_free_row_of_the_embedding_gets_one() -> None:
    tokenizer = make_tokenizer(pad_is_eos=True)
    size = len(tokenizer)

    padding = settle_padding(tokenizer, "own", current=EOS, rows=320)

    assert padding.token_id == size
    assert padding.changed
    assert tokenizer.pad_token == PAD_TOKEN


def test_without_a_free_row_bos_pads_as_no_text_ends_with_it() -> None:
    tokenizer = make_tokenizer(pad_is_eos=True)

    padding = settle_padding(tokenizer, "own", current=EOS, rows=len(tokenizer))

    assert padding.token_id == BOS
    assert tokenizer.pad_token_id == BOS


def test_where_all_special_tokens_are_eos_nothing_pads() -> None:
    """GPT-2's tokenizer: BOS, EOS and UNK are one token, and every row is taken."""
    tokenizer = make_tokenizer(pad_is_eos=True)
    tokenizer.bos_token = tokenizer.unk_token = tokenizer.eos_token

    padding = settle_padding(tokenizer, "own", current=EOS, rows=len(tokenizer))

    assert padding.token_id is None
    assert padding.note is not None
    assert "one text at a time" in padding.note


@pytest.mark.parametrize(("rule", "wanted"), [("eos", EOS), ("keep", 7)])
def test_the_other_rules_take_eos_or_leave_it(rule: Any, wanted: int) -> None:
    assert settle_padding(make_tokenizer(), rule, current=7, rows=320).token_id == wanted


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
