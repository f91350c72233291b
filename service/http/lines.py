"""The lines of a body as it arrives: bounded in bytes, and in what one turn of the loop does."""

import asyncio
from collections.abc import AsyncIterator

PIECE_BYTES = 64 * 1024
"""So much is cut into lines at once; then others have their turn."""


async def split_lines(
    chunks: AsyncIterator[bytes], max_line_bytes: int
) -> AsyncIterator[bytes | None]:
    """The lines of a body, blank ones left out; None stands for a line that is too long.

    Args:
        chunks: the body as it arrives.
        max_line_bytes: no more than this and one chunk is ever held.
    """
    held = bytearray()
    skipping = False
    async for piece in _pieces(chunks):
        *ended, rest = piece.split(b"\n")
        for part in ended:
            held += part
            if skipping or len(held) > max_line_bytes:
                if not skipping:
                    yield None
            elif held.strip():
                yield bytes(held)
            held.clear()
            skipping = False
        if not skipping:
            held += rest
        if len(held) > max_line_bytes:
            yield None
            held.clear()
            skipping = True
    if held.strip():
        yield bytes(held)


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            if start:
                await asyncio.sleep(0)
            yield chunk[start : start + PIECE_BYTES]
