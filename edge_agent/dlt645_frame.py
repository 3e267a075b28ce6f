"""DL/T 645-2007 frames: 68 A0…A5 68 C L data CS 16, each data byte + 0x33, low byte first (§5)."""

from __future__ import annotations

from dataclasses import dataclass

from mrv.errors import WireError

START = 0x68
END = 0x16
WAKE_UP = b"\xfe\xfe\xfe\xfe"
"""Sent before a request so that a sleeping receiver locks on (§5.3.1)."""
READ = 0x11
"""Control code: master reads data."""
READ_OK = 0x91
"""Control code: slave answers a read."""
READ_ERROR = 0xD1
"""Control code: slave refuses a read; the data is one error byte."""
MIN_LENGTH = 12
_SHIFT = 0x33


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, data without the 0x33 shift."""

    address: str
    """Meter address as printed on the meter, 12 digits ("AA…" = any)."""
    control: int
    """Control code."""
    data: bytes
    """Data field."""


def encode(frame: Frame) -> bytes:
    """The frame's bytes without wake-up bytes. Raises WireError on an impossible address."""
    try:
        address = bytes(reversed(bytes.fromhex(frame.address)))
    except ValueError:
        address = b""
    if len(address) != 6 or len(frame.data) > 255:
        raise WireError(
            f"a DL/T 645 address has 12 digits, seen {frame.address!r}",
            field="address",
            hint="fill it up with zeros in front",
        )
    shifted = bytes((byte + _SHIFT) & 0xFF for byte in frame.data)
    body = bytes([START]) + address + bytes([START, frame.control, len(shifted)]) + shifted
    return body + bytes([sum(body) & 0xFF, END])


def take(buffer: bytearray) -> Frame | None:
    """The first whole frame in `buffer`, which loses it and everything before it.

    None: more bytes are needed. Bytes that cannot begin a frame, and frames with a wrong
    checksum, are skipped.
    """
    at = 0
    while True:
        at = buffer.find(START, at)
        if at < 0:
            buffer.clear()
            return None
        if len(buffer) - at >= 8 and buffer[at + 7] != START:
            at += 1
            continue
        if len(buffer) - at < 10:
            break
        end = at + MIN_LENGTH + buffer[at + 9]
        if len(buffer) < end:
            break
        body, check, last = buffer[at : end - 2], buffer[end - 2], buffer[end - 1]
        if sum(body) & 0xFF != check or last != END:
            at += 1
            continue
        frame = Frame(
            address=bytes(reversed(body[1:7])).hex(),
            control=body[8],
            data=bytes((byte - _SHIFT) & 0xFF for byte in body[10:]),
        )
        del buffer[:end]
        return frame
    del buffer[:at]
    return None


def decode(raw: bytes) -> Frame:
    """The one frame in `raw`, wake-up bytes before it allowed. Raises WireError."""
    buffer = bytearray(raw.lstrip(b"\xfe"))
    whole = bool(buffer) and buffer[0] == START
    frame = take(buffer) if whole else None
    if frame is None or buffer:
        raise WireError(f"no whole DL/T 645 frame in {raw.hex(' ')}", hint="check length and sum")
    return frame


def identifier(data: bytes) -> int:
    """The data identifier at the head of a data field. Raises WireError where it is short."""
    if len(data) < 4:
        raise WireError(f"a data field begins with 4 identifier bytes, seen {data.hex(' ')}")
    return int.from_bytes(data[:4], "little")


def read_request(address: str, di: int) -> Frame:
    """The frame that asks a meter for one data identifier."""
    return Frame(address, READ, di.to_bytes(4, "little"))
