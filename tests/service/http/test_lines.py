import itertools
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from service.http.lines import split_lines


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def split(*chunks: bytes, limit: int = 100) -> list[bytes | None]:
    return [line async for line in split_lines(pieces(*chunks), limit)]


async def test_lines_end_at_newlines_and_at_the_end():
    assert await split(b"a\nb\r\n\n  \nc") == [b"a", b"b\r", b"c"]


async def test_a_line_that_is_too_long_is_told_once_and_skipped():
    assert await split(b"x" * 11 + b"\nok\n", limit=10) == [None, b"ok"]
    assert await split(b"x" * 11, b"y" * 50, b"z\nok", limit=10) == [None, b"ok"]
    assert await split(b"x" * 10 + b"\nok", limit=10) == [b"x" * 10, b"ok"]


@given(st.lists(st.binary(max_size=12)), st.lists(st.integers(0, 80), max_size=6))
async def test_chunks_do_not_matter(lines, cuts):
    body = b"\n".join(line.replace(b"\n", b"") for line in lines)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[a:b] for a, b in itertools.pairwise(edges)]

    assert await split(*chunks, limit=8) == await split(body, limit=8)
    whole = [line if len(line) <= 8 else None for line in body.split(b"\n")]
    assert await split(body, limit=8) == [line for line in whole if line is None or line.strip()]
