"""Values as the store keeps them: with their form in front, compressed where that pays.

Owns: the form, and that nothing becomes larger by unpacking than its reader expects. Refuses: to
know what is packed.
"""

from __future__ import annotations

import asyncio
import zlib

__all__ = ["Unpackable", "packed", "unpacked"]

_PLAIN, _DEFLATED = b"p", b"z"
_WORTH = 4 * 1024
"""Bytes from which on compression is tried; it has to save a quarter."""
_QUICK = 32 * 1024
"""Bytes up to which it is done at once: a fraction of a millisecond; more is done in a thread."""
_LEVEL = 1


class Unpackable(Exception):
    """Not what ``packed`` makes, or larger than expected."""


async def packed(data: bytes) -> bytes:
    """The data in the form that is kept."""
    if len(data) < _WORTH:
        return _PLAIN + data
    if len(data) <= _QUICK:
        deflated = zlib.compress(data, _LEVEL)
    else:
        deflated = await asyncio.to_thread(zlib.compress, data, _LEVEL)
    if len(deflated) > len(data) * 3 // 4:
        return _PLAIN + data
    return _DEFLATED + deflated


async def unpacked(kept: bytes, *, most: int) -> bytes:
    """The data again, at most ``most`` bytes. Raises ``Unpackable``."""
    form, body = kept[:1], kept[1:]
    if form == _DEFLATED:
        if len(body) <= _QUICK // 4:
            return _inflated(body, most)
        return await asyncio.to_thread(_inflated, body, most)
    if form != _PLAIN or len(body) > most:
        raise Unpackable
    return body


def _inflated(body: bytes, most: int) -> bytes:
    inflating = zlib.decompressobj()
    try:
        data = inflating.decompress(body, most)
    except zlib.error:
        raise Unpackable from None
    # The bound may be reached with nothing but the end of the stream left to read.
    if not inflating.eof and inflating.decompress(inflating.unconsumed_tail, 1):
        raise Unpackable
    if not inflating.eof:
        raise Unpackable
    return data
