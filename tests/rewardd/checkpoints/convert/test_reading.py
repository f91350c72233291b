"""Each project's reading position, and the contract that says the same."""

import pytest

from rewardd.checkpoints.convert.reading import before_pad, chat_or_plain, last_non_pad, last_token
from tests.models import EOS, make_tokenizer


def test_the_attention_mask_reads_the_last_token_whatever_it_is() -> None:
    assert last_token([5, 6, EOS], EOS) == 2


def test_transformers_reads_before_the_pads_and_the_start_where_all_are() -> None:
    assert last_non_pad([5, EOS, 6, EOS, EOS], EOS) == 2
    assert last_non_pad([EOS, EOS], EOS) == 0
    assert last_non_pad([5, 6], None) == 1


@pytest.mark.parametrize(
    ("ids", "skipped", "wanted"),
    [
        ([5, 6, 7], 0, 2),
        ([5, 6, EOS], 0, 1),
        ([5, 6, EOS], 1, 2),
        ([EOS, 5, 6, EOS], 1, 2),
        ([5, EOS, 6, EOS], 0, 0),
    ],
    ids=["no pad", "before EOS", "its own EOS", "OPT's first token", "an earlier EOS counts"],
)
def test_deepspeed_chat_reads_before_the_first_pad_that_is_none_of_the_texts_own(
    ids: list[int], skipped: int, wanted: int
) -> None:
    assert before_pad(ids, EOS, skipped=skipped) == wanted


def test_eos_is_added_only_where_the_template_never_writes_it() -> None:
    ends = make_tokenizer(chat=True)
    lacks = make_tokenizer(chat=True)
    lacks.chat_template = lacks.chat_template.replace("{{ eos_token }}", "|")

    rules = [
        chat_or_plain(tokenizer, 100, plain_bos="if_absent", eos="if_absent", read="last_token").eos
        for tokenizer in (ends, lacks, make_tokenizer())
    ]

    assert rules == ["never", "if_absent", "if_absent"]


def test_the_template_decides_on_bos_where_there_is_one() -> None:
    chat, plain = (
        chat_or_plain(
            make_tokenizer(chat=chat), 9, plain_bos="if_absent", eos="never", read="last_token"
        )
        for chat in (True, False)
    )

    assert (chat.rendering, chat.bos) == ("chat", "never")
    assert (plain.rendering, plain.bos) == ("concatenate", "if_absent")
