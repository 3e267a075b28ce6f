"""Receives MQTT messages in bulk and acknowledges them when told to (ADR 26).

One socket, one thread: whatever the kernel has is taken at once, whatever is acknowledged goes out
in one piece. `paho` gives and acknowledges messages one by one, three system calls each, which is
most of the cost where a message is one reading.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest import mqtt_wire as wire
from mrv.errors import MeterprintError, WireError

KEEPALIVE_S = 30
"""Keep-alive told to the broker; half of it without sending and we ping."""
TAKE = 1 << 18
"""Most bytes taken from the socket at once."""
AT_ONCE = 500
"""Most messages given at once."""
MAX_MESSAGE = 64 * 1024
"""Bytes kept of one message; a longer one is cut short and told so."""


class FeedLost(MeterprintError):
    """The broker is gone, refuses us, or does not speak MQTT."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and how to get in."""

    port: int = 1883
    """TCP port."""
    host: str = "127.0.0.1"
    """Host."""
    username: str = ""
    """User, "" = none."""
    password: str = ""
    """Password, "" = none."""
    ca: Path | None = None
    """File with the authority that signed the broker's certificate; None = no TLS by it."""
    tls: ssl.SSLContext | None = None
    """How to speak TLS with a certificate of our own."""


class Arrived(NamedTuple):
    """One message. A tuple, as making one must cost next to nothing."""

    topic: bytes
    """Topic, UTF-8."""
    payload: bytes
    """Payload; only its beginning where it is `cut`."""
    mid: int
    """Packet id to acknowledge, 0 = none."""
    again: bool
    """Whether the broker says it has sent it before."""
    cut: bool
    """Whether it was longer than MAX_MESSAGE."""
    retained: bool
    """Whether the broker had kept it from before we subscribed (MQTT 3.1.1 §3.3.1.3)."""


class MqttFeed:
    """A connection with a persistent session: what is not acknowledged comes again."""

    def __init__(self, address: BrokerAddress, client: str, filters: Sequence[str]) -> None:
        self._address = address
        self._client = client
        self._filters = tuple(filters)
        self._socket: socket.socket | None = None
        self._splitter = wire.Splitter()
        self._waiting: list[tuple[int, bytes, bool]] = []
        self._sent = 0.0
        self._pinged = 0.0
        self.session_present = False
        """Whether the broker knew us."""
        self.subscribed = False
        """Whether it has answered our subscription; a known session's messages come before."""

    def connect(self) -> None:
        """Connect and ask for the topics; `receive` takes the answer. Raises FeedLost."""
        address = self._address
        self._splitter = wire.Splitter(MAX_MESSAGE + (1 << 16))
        self._waiting = []
        self._pinged = 0.0
        self.subscribed = False
        try:
            plain = socket.create_connection((address.host, address.port), timeout=10)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = address.tls
            if address.ca is not None:
                context = ssl.create_default_context(cafile=str(address.ca))
            if context is not None:
                plain = context.wrap_socket(plain, server_hostname=address.host)
        except OSError as error:
            raise FeedLost(
                f"no MQTT broker answers on {address.host}:{address.port}: {error}",
                hint="is it running, and is its address right?",
            ) from error
        self._socket = plain
        self._send(
            wire.connect(
                self._client,
                keepalive=KEEPALIVE_S,
                clean=False,
                username=address.username,
                password=address.password,
            )
        )
        answer = self._expect(wire.CONNACK)
        if len(answer) != 2 or answer[1]:
            code = answer[1] if len(answer) == 2 else -1
            self.close()
            raise FeedLost(
                f"{address.host}:{address.port} refuses us: {wire.REFUSALS.get(code, code)}",
                hint="check user name, password and access rights at the broker",
            )
        self.session_present = bool(answer[0] & 1)
        self._send(wire.subscribe(1, self._filters))

    def _granted(self, body: bytes) -> None:
        """Take the broker's answer to our subscription (§3.9). Raises FeedLost."""
        granted = body[2:]
        refused = [name for name, code in zip(self._filters, granted, strict=False) if code > 2]
        if refused or len(granted) != len(self._filters):
            address = self._address
            self.close()
            raise FeedLost(
                f"{address.host}:{address.port} does not let us read {', '.join(refused)}",
                hint="allow the bridge to read these topics at the broker",
            )
        self.subscribed = True

    def _expect(self, kind: int) -> bytes:
        """The first packet, of a kind; what comes after it waits. Raises FeedLost."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            packets = self._read(1.0)
            if packets and packets[0][0] & 0xF0 == kind:
                self._waiting = packets[1:]
                return packets[0][1]
            if packets:
                break
        self.close()
        raise FeedLost(f"the broker does not answer with a packet of kind {kind:#x}")

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            raise FeedLost("not connected")
        try:
            self._socket.settimeout(10)
            self._socket.sendall(data)
        except OSError as error:
            self.close()
            raise FeedLost(f"the connection broke: {error}") from error
        self._sent = time.monotonic()

    def _read(self, timeout: float) -> list[tuple[int, bytes, bool]]:
        if self._socket is None:
            raise FeedLost("not connected")
        try:
            self._socket.settimeout(max(timeout, 0.0005))
            data = self._socket.recv(TAKE)
        except (TimeoutError, ssl.SSLWantReadError):
            return []
        except OSError as error:
            self.close()
            raise FeedLost(f"the connection broke: {error}") from error
        if not data:
            self.close()
            raise FeedLost("the broker closed the connection")
        try:
            return self._splitter.feed(data)
        except WireError as error:
            self.close()
            raise FeedLost(f"the broker does not speak MQTT: {error}") from error

    def receive(self, timeout: float) -> list[Arrived]:
        """Messages that are here, waiting at most `timeout` s for the first. Raises FeedLost."""
        now = time.monotonic()
        if self._pinged and now - self._pinged > KEEPALIVE_S:
            self.close()
            raise FeedLost("the broker does not answer a ping: the connection is half open")
        if not self._pinged and now - self._sent > KEEPALIVE_S / 2:
            self._send(wire.PINGREQ)
            self._pinged = now
        packets = self._waiting or self._read(timeout)
        self._waiting = packets[AT_ONCE:]
        found = []
        for head, body, long in packets[:AT_ONCE]:
            if head & 0xF0 == wire.PUBLISH:
                try:
                    topic, payload, mid, again = wire.opened(body, head)
                except WireError as error:
                    self.close()
                    raise FeedLost(f"the broker does not speak MQTT: {error}") from error
                cut = long or len(payload) > MAX_MESSAGE
                found.append(Arrived(topic, payload[:MAX_MESSAGE], mid, again, cut, bool(head & 1)))
            elif head & 0xF0 == wire.PINGRESP:
                self._pinged = 0.0
            elif head & 0xF0 == wire.SUBACK:
                self._granted(body)
        return found

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Say that messages are kept for good. Raises FeedLost."""
        if mids:
            self._send(wire.pubacks(mids))

    def close(self) -> None:
        """Close the connection; the session stays at the broker."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def leave(self) -> None:
        """Say good-bye and close."""
        if self._socket is not None:
            try:
                self._send(wire.DISCONNECT)
            except FeedLost:
                return
            self.close()
