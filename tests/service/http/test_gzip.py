import gzip
import random
from collections.abc import AsyncIterator, Iterable

import pytest

from service.http import gzip as module
from service.http.gzip import (
    FREE_BYTES,
    FREE_LINES,
    MAX_LINES_PER_BYTE,
    MAX_RATIO,
    PIECE_BYTES,
    BrokenBody,
    inflate,
)


async def arriving(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


async def collect(into: list[bytes], *chunks: bytes) -> None:
    async for piece in inflate(arriving(chunks)):
        into.append(piece)  # noqa: PERF401 (what came before an error is to be seen)


async def inflated(*chunks: bytes) -> list[bytes]:
    found: list[bytes] = []
    await collect(found, *chunks)
    return found


@pytest.fixture
def text() -> bytes:
    rng = random.Random(3)
    return b"".join(
        b'{"prompt": "%d", "response": "%x"}\n' % (i, rng.getrandbits(99)) for i in range(5000)
    )


@pytest.mark.parametrize("size", [1, 7, 4096, 10**9])
async def test_whatever_the_chunks_the_text_comes_out(text: bytes, size: int) -> None:
    assert b"".join(await inflated(*cut(gzip.compress(text), size))) == text


@pytest.mark.parametrize("piece", [1, 2, 3, 17])
async def test_whatever_the_pieces_the_text_comes_out(
    text: bytes, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", piece)
    body = gzip.compress(text[:3000] + b"a" * 3000)

    assert b"".join(await inflated(*cut(body, 100))) == text[:3000] + b"a" * 3000


async def test_pieces_are_small_however_large_the_chunk(text: bytes) -> None:
    pieces = await inflated(gzip.compress(b" " * 4_000_000 + text))

    assert max(map(len, pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("size", [1, 50, 10**9])
async def test_members_one_after_the_other_are_one_text(size: int) -> None:
    body = (
        gzip.compress(b"one\n") + b"\0\0\0" + gzip.compress(b"") + gzip.compress(b"two\n") + b"\0"
    )

    assert b"".join(await inflated(*cut(body, size))) == b"one\ntwo\n"


async def test_nothing_inflates_to_nothing() -> None:
    assert await inflated() == []


GOOD = gzip.compress(b"good\n", mtime=0)  # no clock in a test's name: two workers collect the same


@pytest.mark.parametrize(
    ("body", "code", "before"),
    [
        (b"plain text", "invalid_gzip", b""),
        (GOOD + b"rubbish", "invalid_gzip", b"good\n"),
        (GOOD[:-4], "truncated_gzip", b"good\n"),
        (GOOD[:-8] + b"\1\2\3\4\5\0\0\0", "invalid_gzip", b""),
        (b"\x1f", "truncated_gzip", b""),
    ],
)
async def test_a_broken_body_gives_what_came_before_and_says_what_is_wrong(
    body: bytes, code: str, before: bytes
) -> None:
    found: list[bytes] = []
    with pytest.raises(BrokenBody) as caught:
        await collect(found, *cut(body, 1))

    assert caught.value.code == code
    assert b"".join(found).startswith(before)


async def test_a_bomb_ends_soon_after_its_allowance() -> None:
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024))
    allowed = FREE_BYTES + MAX_RATIO * len(bomb)
    assert allowed < 64 * 1024 * 1024

    found: list[bytes] = []
    with pytest.raises(BrokenBody) as caught:
        await collect(found, bomb)

    assert caught.value.code == "compression_bomb"
    assert sum(map(len, found)) <= allowed


async def test_a_short_repetitive_body_is_no_bomb() -> None:
    body = gzip.compress(b"x" * (FREE_BYTES - 1))

    assert len(b"".join(await inflated(body))) == FREE_BYTES - 1


@pytest.mark.parametrize("line", [b"{}\n", b"\n"], ids=["tiny", "blank"])
async def test_a_bomb_of_lines_ends_soon_after_its_allowance(line: bytes) -> None:
    bomb = gzip.compress(line * 2_000_000)
    assert len(line) * 2_000_000 < FREE_BYTES + MAX_RATIO * len(bomb)  # no bomb by its bytes

    found: list[bytes] = []
    with pytest.raises(BrokenBody) as caught:
        await collect(found, bomb)

    assert caught.value.code == "compression_bomb"
    assert "lines" in caught.value.detail
    assert b"".join(found).count(b"\n") <= FREE_LINES + MAX_LINES_PER_BYTE * len(bomb)


@pytest.mark.parametrize("level", [1, 9])
async def test_lines_that_differ_in_a_number_alone_are_no_bomb(level: int) -> None:
    lines = b"".join(b'{"prompt":"p","response":"r%d"}\n' % i for i in range(100_000))

    assert b"".join(await inflated(gzip.compress(lines, level))) == lines


async def test_so_many_equal_lines_are_let_pass_in_any_body() -> None:
    lines = b'{"prompt":"Is 27 prime?","response":"No."}\n' * FREE_LINES

    assert b"".join(await inflated(gzip.compress(lines))) == lines
