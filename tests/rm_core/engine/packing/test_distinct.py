from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.distinct import distinct_reads, reading_digest
from rm_core.types import Encoded, EncodedItem, ReadPosition

ids = st.lists(st.integers(0, 1), min_size=1, max_size=3).map(tuple)


@given(st.data(), st.lists(ids, max_size=8))
def test_each_text_and_each_read_stands_once_and_its_value_reaches_all_that_asked(
    data: st.DataObject, rows: list[tuple[int, ...]]
) -> None:
    texts = [Encoded(row, len(row) - 1) for row in rows]
    reads = [
        data.draw(st.lists(st.integers(0, len(row) - 1), min_size=1, max_size=4)) for row in rows
    ]

    once = distinct_reads(texts, reads)

    assert [text.input_ids for text in once.texts] == list(dict.fromkeys(rows))
    values = [
        (text.input_ids, at) for text, own in zip(once.texts, once.reads, strict=True) for at in own
    ]
    asked = [(row, at) for row, own in zip(rows, reads, strict=True) for at in own]
    assert len(set(values)) == len(values)
    assert set(values) == set(asked)
    assert once.spread(values) == asked


def test_texts_that_are_read_elsewhere_are_not_the_same() -> None:
    once = distinct_reads([Encoded((1, 2), 1), Encoded((1, 2), 0)], [[1], [0]])

    assert (len(once.texts), once.order) == (2, [0, 1])


def test_a_digest_tells_whatever_a_reward_depends_on_and_nothing_else() -> None:
    first = Encoded((1, 2), 1, 1, extra_positions=(ReadPosition(1, 0, 3, "abc"),))
    same = Encoded((1, 2), 1, 1, ("truncated",), (ReadPosition(1, 4, 6, "de"),))
    others = [
        Encoded((1, 3), 1, 1, extra_positions=first.extra_positions),
        Encoded((1, 2), 0, 1, extra_positions=first.extra_positions),
        Encoded((1, 2), 1, None, extra_positions=first.extra_positions),
        Encoded((1, 2), 1, 1),
        Encoded((1, 2), 1, 1, extra_positions=first.extra_positions, token_types=(0, 1)),
    ]

    digests = [reading_digest(EncodedItem({"safety": one})) for one in [first, *others]]

    assert reading_digest(EncodedItem({"safety": same})) == digests[0]
    assert len(set(digests)) == 1 + len(others)
