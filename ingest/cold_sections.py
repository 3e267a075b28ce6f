"""Sections of a cold block: bytes as they are or pressed, numbers laid out by weight."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from mrv.errors import MeterprintError

PLANE_LEVEL = 3
"""Zstandard level of numbers, whose low bytes are noise."""
MAX_SECTION = 2**25
"""Largest section read, bytes: a block of the largest envelopes has half of that."""
_SECTION = struct.Struct("<BII")


class ColdDataError(MeterprintError):
    """Bytes that are no block, or not a whole one."""


def raw(data: bytes) -> bytes:
    """A section of bytes as they are."""
    return _SECTION.pack(0, len(data), len(data)) + data


def pressed(data: bytes, level: int) -> bytes:
    """A section of compressed bytes, or of bytes as they are where that is shorter."""
    packed: bytes = pa.Codec("zstd", level).compress(data, asbytes=True)
    if len(packed) >= len(data):
        return raw(data)
    return _SECTION.pack(1, len(data), len(packed)) + packed


def planes(numbers: Any) -> Iterator[bytes]:
    """Zigzag numbers, one section for all bytes of equal weight, low ones first.

    They are a list of integers or an int64 array.
    """
    signed = np.asarray(numbers, dtype=np.int64)
    zigzag = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    width = max(1, (int(zigzag.max()).bit_length() + 7) // 8) if len(signed) else 0
    yield bytes([width])
    by_weight = zigzag.view(np.uint8).reshape(-1, 8).T
    for plane in by_weight[:width]:
        yield pressed(plane.tobytes(), PLANE_LEVEL)


class SectionReader:
    """Reads sections one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def section(self) -> bytes:
        """The next section, unpacked."""
        packed, size, stored = _SECTION.unpack_from(self._data, self._at)
        self._at += _SECTION.size + stored
        part = self._data[self._at - stored : self._at]
        if packed > 1 or len(part) != stored or size > MAX_SECTION:
            raise ColdDataError("a section of the block is cut off")
        if not packed:
            if size != stored:
                raise ColdDataError("a section of the block has another length than it says")
            return part
        try:
            unpacked: bytes = pa.Codec("zstd").decompress(part, size, asbytes=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ColdDataError(f"a section cannot be unpacked: {error}") from error
        if len(unpacked) != size:
            raise ColdDataError("a section of the block has another length than it says")
        return unpacked

    def numbers(self) -> list[int]:
        """The next stream of numbers."""
        width = self._data[self._at]
        self._at += 1
        if width > 8:
            raise ColdDataError("a number of the block is wider than 64 bits")
        parts = [self.section() for _ in range(width)]
        if not parts:
            return []
        if len({len(part) for part in parts}) != 1:
            raise ColdDataError("numbers of the block have parts of unequal length")
        table = np.zeros((len(parts[0]), 8), dtype=np.uint8)
        for place, plane in enumerate(parts):
            table[:, place] = np.frombuffer(plane, dtype=np.uint8)
        zigzag = table.view(np.uint64).ravel()
        signed = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
        listed: list[int] = signed.tolist()
        return listed

    @property
    def left(self) -> int:
        """Bytes not read."""
        return len(self._data) - self._at
