"""MQTT 3.1.1 packets as bytes, as far as receiving in bulk and a load generator need them.

OASIS Standard MQTT 3.1.1; section numbers are its own. Nothing in here touches a socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mrv.errors import WireError

PUBLISH, PUBACK, SUBACK, PINGRESP, CONNACK = 0x30, 0x40, 0x90, 0xD0, 0x20
"""First byte of a packet without its flags (§2.2.1)."""
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
MAX_REMAINING = 268_435_455
"""Largest remaining length (§2.2.3)."""
REFUSALS = {
    1: "protocol version not accepted",
    2: "client identifier not accepted",
    3: "server unavailable",
    4: "wrong user name or password",
    5: "not authorised",
}
"""Return codes of CONNACK (§3.2.2.3)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet."""

    head: int
    """Its first byte: type and flags."""
    body: bytes
    """What follows the remaining length."""


Publish = tuple[bytes, bytes, int, bool]
"""(topic as UTF-8, payload, packet id or 0 at QoS 0, whether it is sent again)."""


def length(size: int) -> bytes:
    """A remaining length (§2.2.3). Raises WireError beyond MAX_REMAINING."""
    if not 0 <= size <= MAX_REMAINING:
        raise WireError(f"a packet of {size} bytes cannot be sent")
    out = bytearray()
    while True:
        size, low = size >> 7, size & 0x7F
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)


def packet(head: int, body: bytes) -> bytes:
    """A whole packet."""
    return bytes((head,)) + length(len(body)) + body


def text(value: str | bytes) -> bytes:
    """A string with its length before it (§1.5.3). Raises WireError beyond 65,535 bytes."""
    data = value.encode() if isinstance(value, str) else value
    if len(data) > 0xFFFF:
        raise WireError(f"a string of {len(data)} bytes cannot be sent")
    return len(data).to_bytes(2, "big") + data


def connect(
    client: str, *, keepalive: int, clean: bool, username: str = "", password: str = ""
) -> bytes:
    """CONNECT (§3.1); `keepalive` in s."""
    flags = (0x02 if clean else 0) | (0x80 if username else 0) | (0x40 if password else 0)
    body = text("MQTT") + bytes((4, flags)) + keepalive.to_bytes(2, "big") + text(client)
    if username:
        body += text(username)
    if password:
        body += text(password)
    return packet(0x10, body)


def subscribe(mid: int, filters: Sequence[str]) -> bytes:
    """SUBSCRIBE at QoS 1 (§3.8)."""
    body = mid.to_bytes(2, "big") + b"".join(text(name) + b"\x01" for name in filters)
    return packet(0x82, body)


def publish(topic: str | bytes, payload: bytes, mid: int = 0, *, again: bool = False) -> bytes:
    """PUBLISH (§3.3): QoS 1 with a packet id, QoS 0 without one."""
    named = text(topic)
    if mid:
        return packet(
            PUBLISH | 0x02 | (0x08 if again else 0), named + mid.to_bytes(2, "big") + payload
        )
    return packet(PUBLISH, named + payload)


def pubacks(mids: Iterable[int]) -> bytes:
    """PUBACK (§3.4) of each packet id, one after the other."""
    return b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids)


def opened(body: bytes, head: int) -> Publish:
    """What a PUBLISH holds. Raises WireError."""
    size = int.from_bytes(body[:2], "big") + 2
    qos = head >> 1 & 3
    if qos > 1 or size > len(body):
        raise WireError(f"a PUBLISH of QoS {qos} and {len(body)} bytes cannot be read")
    if not qos:
        return body[2:size], body[size:], 0, False
    mid = int.from_bytes(body[size : size + 2], "big")
    if not mid:
        raise WireError("a PUBLISH without its packet id")
    return body[2:size], body[size + 2 :], mid, bool(head & 8)


class Splitter:
    """Cuts a stream of bytes into packets, whatever the pieces it comes in.

    Of a packet longer than `limit` only the first `limit` bytes are kept, so that nobody can fill
    the memory; the rest is skipped as it comes.
    """

    def __init__(self, limit: int = 1 << 20) -> None:
        self._limit = limit
        self._rest = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes, int]]:
        """(first byte, body, bytes left out of it) of each packet now whole. Raises WireError.

        A packet that is too long is told of as soon as the part that is kept is here.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._rest:
            data = self._rest + data
        found: list[tuple[int, bytes, int]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            size = data[at + 1]
            start = at + 2
            if size & 0x80:
                size &= 0x7F
                shift = 7
                while start < end:
                    low = data[start]
                    start += 1
                    size |= (low & 0x7F) << shift
                    if not low & 0x80:
                        break
                    shift += 7
                    if shift > 21:
                        raise WireError("a remaining length of more than four bytes")
                else:
                    break
            stop = start + size
            if size > self._limit:
                if end - start < self._limit:
                    break
                found.append((data[at], data[start : start + self._limit], size - self._limit))
                if stop > end:
                    self._skip = stop - end
                    self._rest = b""
                    return found
            elif stop > end:
                break
            else:
                found.append((data[at], data[start:stop], 0))
            at = stop
        self._rest = data[at:]
        return found
