"""Gzip bodies as a stream: inflated piece by piece, so that no body has to fit into memory.

What a small body may grow to is bounded by its own size: a bomb ends soon after it is recognised,
whatever it would have become.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator

PIECE_BYTES = 64 * 1024
"""Most bytes that are inflated at once."""

MAX_RATIO = 256
"""Most inflated bytes per compressed byte; repetitive JSON stays below 100, a bomb nears 1,032."""

FREE_BYTES = 8 * 1024 * 1024
"""Inflated bytes that any body may have, so that short repetitive ones pass."""

FREE_LINES = 4096
"""Lines that any body may have, blank ones too."""

MAX_LINES_PER_BYTE = 2
"""Most lines per compressed byte beyond those.

A line costs work however short it is, and `{}` again and again inflates to 300 a byte. Lines that
differ in a number alone take two bytes each.
"""

_GZIP_ONLY = 16 + zlib.MAX_WBITS


class BrokenBody(Exception):
    """Raised where a compressed body can't be read on; what came before it is good.

    Attributes:
        code: stable name of the reason.
        detail: what is wrong and what to do about it.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


async def inflate(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What a gzip body of one or more members holds, at most `PIECE_BYTES` at a time.

    Args:
        chunks: the compressed body as it arrives.

    Raises:
        BrokenBody: it is not gzip ("invalid_gzip"), it ends too early ("truncated_gzip"), or it
            grows beyond `FREE_BYTES` and `MAX_RATIO` times its size, or beyond `FREE_LINES` and
            `MAX_LINES_PER_BYTE` times its size ("compression_bomb").
    """
    member = zlib.decompressobj(_GZIP_ONLY)
    in_member = False
    num_read = num_inflated = num_lines = 0
    async for chunk in chunks:
        num_read += len(chunk)
        data = chunk
        while data:
            if not in_member:
                data = data.lstrip(b"\0")  # padding between members, as gzip itself lets pass
                in_member = bool(data)
            piece = _inflate(member, data)
            num_inflated += len(piece)
            if num_inflated > FREE_BYTES + MAX_RATIO * num_read:
                raise BrokenBody(
                    "compression_bomb",
                    f"The body inflates to more than {MAX_RATIO} times its size; send it "
                    "uncompressed.",
                )
            num_lines += piece.count(b"\n")
            if num_lines > FREE_LINES + MAX_LINES_PER_BYTE * num_read:
                raise BrokenBody(
                    "compression_bomb",
                    f"The body inflates to more than {MAX_LINES_PER_BYTE} lines for each of its "
                    "bytes; send it uncompressed.",
                )
            if piece:
                yield piece
                await asyncio.sleep(0)  # others get their turn, also if nothing here ever waits
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data
                member = zlib.decompressobj(_GZIP_ONLY)
                in_member = False
    if in_member:
        raise BrokenBody(
            "truncated_gzip",
            "The gzip body ends in its middle; send it again from the first unanswered line.",
        )


def _inflate(member: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return member.decompress(data, PIECE_BYTES)
    except zlib.error:
        raise BrokenBody(
            "invalid_gzip",
            "The body is not gzip from here on; compress it again, or leave Content-Encoding out.",
        ) from None
