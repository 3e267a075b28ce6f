"""Receives MQTT messages in bulk and acknowledges them when told to (ADR 26, 31).

One socket: whatever the kernel has is taken at once, whatever is acknowledged goes out in one
piece. `paho` gives and acknowledges messages one by one, three system calls each, which is most of
the cost where a message is one reading. One thread connects and receives; any thread acknowledges,
and never waits for it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ingest import mqtt_wire as wire
from mrv.errors import MeterprintError, WireError

KEEPALIVE_S = 30
"""Keep-alive told to the broker; half of it without sending and we ping."""
ANSWER_S = 10.0
"""How long the broker may take to answer a connection, or to read what we send it."""
TAKE = 1 << 18
"""Most bytes taken from the socket at once."""
AT_ONCE = 500
"""Most messages given at once."""
MAX_MESSAGE = 64 * 1024
"""Bytes kept of one message, unless more are asked for; a longer one is cut short and told so."""
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""The socket has nothing to give, or no room."""


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
    cut: int
    """Bytes by which it was longer than what is kept of it, 0 = it is whole."""
    retained: bool
    """Whether the broker had kept it from before we subscribed (MQTT 3.1.1 §3.3.1.3)."""


class MqttFeed:
    """A connection with a persistent session: what is not acknowledged comes again.

    `connection` counts the connections made: a message is acknowledged on the one it came by, as
    the broker gives its packet id to it anew on the next. `largest` is how many bytes are kept of a
    message.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client: str,
        filters: Sequence[str],
        largest: int = MAX_MESSAGE,
    ) -> None:
        self._address = address
        self._largest = largest
        self._client = client
        self._filters = tuple(filters)
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._splitter = wire.Splitter()
        self._waiting: list[tuple[int, bytes, int]] = []
        self._out = bytearray()
        self._stuck = 0.0
        self._sent = 0.0
        self._pinged = 0.0
        self._asked: dict[int, tuple[str, ...]] = {}
        self._mid = 0
        self.connection = 0
        self.session_present = False
        """Whether the broker knew us."""

    @property
    def subscribed(self) -> bool:
        """Whether it has answered our subscriptions; a known session's messages come before."""
        return self._mid > 0 and not self._asked

    def connect(self) -> None:
        """Connect and ask for the topics; `receive` takes the answer. Raises FeedLost."""
        address = self._address
        try:
            plain = socket.create_connection((address.host, address.port), timeout=ANSWER_S)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = address.tls
            if address.ca is not None:
                context = ssl.create_default_context(cafile=str(address.ca))
            if context is not None:
                plain = context.wrap_socket(plain, server_hostname=address.host)
        except (OSError, ValueError, OverflowError) as error:  # also what no host can be called
            raise FeedLost(
                f"no MQTT broker answers on {address.host}:{address.port}: {error}",
                hint="is it running, and is its address right?",
            ) from error
        plain.setblocking(False)
        with self._lock:
            self._splitter = wire.Splitter(self._largest + (1 << 16))
            self._waiting, self._out = [], bytearray()
            self._pinged = self._stuck = 0.0
            self._asked, self._mid = {}, 0
            self._socket = plain
            self.connection += 1
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
            raise self._lost(
                f"{address.host}:{address.port} refuses us: {wire.REFUSALS.get(code, code)}",
                "check user name, password and access rights at the broker",
            )
        self.session_present = bool(answer[0] & 1)
        self.listen(())

    def listen(self, filters: Sequence[str]) -> None:
        """Ask for more topics, now and at each connection; without any, for all there are."""
        with self._lock:
            self._filters += tuple(filters)
            if self._socket is None or (filters and not self._mid):
                return  # the next subscription has them
            self._mid += 1
            self._asked[self._mid] = tuple(filters) or self._filters
            packet = wire.subscribe(self._mid, self._asked[self._mid])
        self._send(packet)

    def _granted(self, body: bytes) -> None:
        """Take the broker's answer to a subscription (§3.9). Raises FeedLost."""
        asked = self._asked.get(int.from_bytes(body[:2], "big"))
        if asked is None:
            return
        granted = body[2:]
        refused = [name for name, code in zip(asked, granted, strict=False) if code > 2]
        if refused or len(granted) != len(asked):
            address = self._address
            raise self._lost(
                f"{address.host}:{address.port} does not let us read {', '.join(refused)}",
                f"allow {self._client} to read these topics at the broker",
            )
        del self._asked[int.from_bytes(body[:2], "big")]

    def _expect(self, kind: int) -> bytes:
        """The first packet, of a kind; what comes after it waits. Raises FeedLost."""
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            packets = self._read(min(1.0, ANSWER_S))
            if packets and packets[0][0] & 0xF0 == kind:
                self._waiting = packets[1:]
                return packets[0][1]
            if packets:
                break
        raise self._lost(f"the broker does not answer with a packet of kind {kind:#x}")

    def _lost(self, why: str, hint: str = "") -> FeedLost:
        self.close()
        return FeedLost(why, hint=hint)

    def _send(self, data: bytes, connection: int = 0) -> None:
        """Send, or keep for when there is room. A broken connection shows at the next read.

        What belongs to a `connection` is not sent on another one; 0 = on whichever there is.
        """
        with self._lock:
            if self._socket is None or connection not in (0, self.connection):
                return
            self._out += data
            self._sent = time.monotonic()
            self._push(self._socket)

    def _push(self, connection: socket.socket) -> None:
        """Send what there is room for. The caller holds the lock."""
        try:
            while self._out:
                del self._out[: connection.send(self._out)]
        except NOT_NOW:
            self._stuck = self._stuck or time.monotonic()
        except OSError:
            self._out.clear()  # reading fails as well, and says why
        else:
            self._stuck = 0.0

    def _read(self, timeout: float) -> list[tuple[int, bytes, int]]:
        """Packets that are here or come within `timeout` s. Raises FeedLost."""
        connection = self._socket
        if connection is None:
            raise FeedLost("not connected")
        try:
            data = self._taken(connection)
            if data is None:
                self._wait(connection, timeout)
                data = self._taken(connection)
        except (OSError, ValueError) as error:
            raise self._lost(f"the connection broke: {error}") from error
        if data is None:
            if self._stuck and time.monotonic() - self._stuck > ANSWER_S:
                raise self._lost("the broker does not read what we send it")
            return []
        if not data:
            raise self._lost("the broker closed the connection")
        self._pinged = 0.0
        try:
            return self._splitter.feed(data)
        except WireError as error:
            raise self._lost(f"the broker does not speak MQTT: {error}") from error

    def _taken(self, connection: socket.socket) -> bytes | None:
        """Bytes that are here, None where there are none; b"" at the end of the connection."""
        with self._lock:
            if self._out:
                self._push(connection)
            try:
                return connection.recv(TAKE)
            except NOT_NOW:
                return None

    def _wait(self, connection: socket.socket, timeout: float) -> None:
        poll = select.poll()
        poll.register(connection, select.POLLIN | (select.POLLOUT if self._stuck else 0))
        poll.poll(max(timeout, 0.0) * 1000)

    def keep_alive(self) -> None:
        """Ping where nothing was sent for long; for whoever does not receive for a while."""
        if time.monotonic() - self._sent > KEEPALIVE_S / 2:
            self._send(wire.PINGREQ)

    def receive(self, timeout: float) -> list[Arrived]:
        """Messages that are here, waiting at most `timeout` s for the first. Raises FeedLost."""
        now = time.monotonic()
        if not self._pinged and now - self._sent > KEEPALIVE_S / 2:
            self._send(wire.PINGREQ)
            self._pinged = now
        packets = self._waiting or self._read(min(timeout, KEEPALIVE_S / 2))
        if not packets and self._pinged and now - self._pinged > KEEPALIVE_S:
            raise self._lost("the broker does not answer a ping: the connection is half open")
        self._waiting = packets[AT_ONCE:]
        found = []
        for head, body, left_out in packets[:AT_ONCE]:
            if head & 0xF0 == wire.PUBLISH:
                try:
                    topic, payload, mid, again = wire.opened(body, head)
                except WireError as error:
                    raise self._lost(f"the broker does not speak MQTT: {error}") from error
                cut = left_out
                if len(payload) > self._largest:
                    cut += len(payload) - self._largest
                    payload = payload[: self._largest]
                found.append(Arrived(topic, payload, mid, again, cut, bool(head & 1)))
            elif head & 0xF0 == wire.SUBACK:
                self._granted(body)
        return found

    def acknowledge(self, mids: Sequence[int], connection: int = 0) -> None:
        """Say that messages are kept for good; those of an earlier connection come again anyway.

        `connection` is the one they came by, 0 = the present one.
        """
        if mids:
            self._send(wire.pubacks(mids), connection)

    def close(self) -> None:
        """Close the connection; the session stays at the broker."""
        with self._lock:
            connection, self._socket = self._socket, None
            if connection is not None:
                connection.close()

    def leave(self) -> None:
        """Say good-bye and close."""
        self._send(wire.DISCONNECT)
        self.close()

    def interrupt(self) -> None:
        """Say good-bye and let whoever receives find the connection closed."""
        self._send(wire.DISCONNECT)
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
