"""Texts of other people, made fit for a page."""

from hypothesis import given
from hypothesis import strategies as st

from training.publishing.report.texts import readable, shown


def test_short_texts_stand_as_they_are() -> None:
    part = shown("two\nlines\tand ünïcödé 🙂 العربية")

    assert part.text == "two\nlines\tand ünïcödé 🙂 العربية"
    assert (part.beginning, part.left_out) == ("", 0)


def test_long_texts_are_folded_and_endless_ones_cut_and_counted() -> None:
    part = shown("word " * 400, most=1000)

    assert part.characters == 2000
    assert part.left_out == 1000
    assert len(part.text) == 1000
    assert part.text.startswith(part.beginning)


def test_control_characters_are_seen() -> None:
    assert readable("a\x00b\x1b[0m\x7f\r\nc") == "a␀b␛[0m␡\nc"


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_whatever_comes_can_be_written_as_utf_8(text: str) -> None:
    found = readable(text)

    found.encode("utf-8")
    assert not any(ord(c) < 0x20 and c not in "\t\n" for c in found)
