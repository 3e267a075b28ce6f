"""Signed notes in less room, on a gateway that has nothing but the standard library.

A packed note is a mark and a raw zlib stream with a preset dictionary (RFC 1950 §2.2); a note
itself never begins with a control character, so what an earlier version kept reads as it is.
"""

from __future__ import annotations

import zlib

MARK = b"\x01"
"""First byte of a packed note; says which dictionary."""
LEVEL = 6
"""zlib's default: 80 µs an envelope of 100 readings; level 9 gains under 1 %."""
DICTIONARY = (
    b'{"v":1,"site":"","agent":"","stream":"","epoch":"","seq":0,"after":null,"prev":"","t":"17",'
    b'"mono":"","boot":"","clk":{"state":"S","error_ms":5,"source":"ntp"},"cfg":"","cols":[{"ch":"'
    b'","t0":"17","dt":[0,1000000000,999999999,1000000001],"v":[],"q":["","","","","",""]}],"ev":[]'
    b"}\n\n\xe2\x80\x94 "
)
"""What envelopes have in common. Never to be changed: another one gets another mark."""


def packed(note: bytes) -> bytes:
    """A note as it is kept."""
    squeezer = zlib.compressobj(LEVEL, zdict=DICTIONARY)
    small = MARK + squeezer.compress(note) + squeezer.flush()
    return small if len(small) < len(note) or note.startswith(MARK) else note


def unpacked(kept: bytes) -> bytes:
    """The note of a packed one, byte for byte; one that was never packed is as it is.

    So are bytes that a failing disk has changed: the others must not wait for them, and the site's
    quarantine says what came.
    """
    if not kept.startswith(MARK):
        return kept
    opener = zlib.decompressobj(zdict=DICTIONARY)
    try:
        note = opener.decompress(kept[len(MARK) :])
    except zlib.error:
        return kept
    return kept if not opener.eof or opener.unused_data else note
