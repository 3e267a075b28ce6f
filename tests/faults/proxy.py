"""A TCP proxy between an MQTT client and its broker that does to packets what networks do."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

PUBLISH = 3
"""Type of the packet that carries a message (MQTT 3.1.1, 2.2.1)."""


@dataclass(slots=True)
class Weather:
    """What the proxy does; may be changed while it works."""

    gone: bool = False
    """Nobody answers: new connections are refused, present ones end."""
    silent: bool = False
    """Half-open: connections are accepted, nothing is passed on or answered."""
    duplicate: float = 0.0
    """Chance of a PUBLISH to go through twice."""
    hold: int = 0
    """Up to so many PUBLISH packets are held back and let go in another order."""
    delay_s: float = 0.0
    """Each packet is held back for up to so long."""
    cut_after: list[int] = field(default_factory=list)
    """After each of these numbers of bytes a connection ends, in the middle of a packet."""


def packets(buffer: bytearray) -> Iterator[bytes]:
    """Whole MQTT packets at the front of a buffer, taken out of it."""
    while len(buffer) >= 2:
        length, shift, place = 0, 0, 1
        while place < len(buffer) and place <= 4:
            byte = buffer[place]
            length |= (byte & 0x7F) << shift
            shift += 7
            place += 1
            if not byte & 0x80:
                break
        else:
            return
        end = place + length
        if len(buffer) < end:
            return
        yield bytes(buffer[:end])
        del buffer[:end]


class Proxy:
    """Listens on a free loopback port and passes on to a broker, as the weather is."""

    def __init__(self, target: int, seed: int) -> None:
        self.weather = Weather()
        self.counts = {"cut": 0, "duplicated": 0, "reordered": 0, "connections": 0}
        self._target = target
        self._choice = random.Random(seed)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._bytes = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self._listener.getsockname()[1])
        self._spawn(self._accept)

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.weather.gone:
                client.close()
                continue
            self.counts["connections"] += 1
            try:
                broker = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            with self._lock:
                self._open |= {client, broker}
            self._spawn(self._pump, client, broker)
            self._spawn(self._pump, broker, client)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        buffer = bytearray()
        held: list[bytes] = []
        try:
            while True:
                source.settimeout(0.05 if held else None)
                try:
                    data = source.recv(65536)
                except TimeoutError:  # nothing more comes: what is held goes now
                    self._let_go(held, target)
                    continue
                if not data:
                    break
                buffer += data
                for packet in packets(buffer):
                    self._pass(packet, held, target)
        except OSError:
            pass  # this connection is over, which is what networks do
        finally:
            self._close(source, target)

    def _pass(self, packet: bytes, held: list[bytes], target: socket.socket) -> None:
        weather = self.weather
        if weather.silent:
            return
        if weather.delay_s:
            self._stopping.wait(self._choice.random() * weather.delay_s)
        if packet[0] >> 4 != PUBLISH:
            self._send(packet, target)
            return
        copies = 1 + (self._choice.random() < weather.duplicate)
        self.counts["duplicated"] += copies - 1
        if not weather.hold:
            for _ in range(copies):
                self._send(packet, target)
            return
        held += [packet] * copies
        if len(held) >= weather.hold:
            self._let_go(held, target)

    def _let_go(self, held: list[bytes], target: socket.socket) -> None:
        before = list(held)
        self._choice.shuffle(held)
        self.counts["reordered"] += sum(a is not b for a, b in zip(before, held, strict=True))
        for packet in held:
            self._send(packet, target)
        held.clear()

    def _send(self, packet: bytes, target: socket.socket) -> None:
        with self._lock:
            cuts = self.weather.cut_after
            room = cuts[0] - self._bytes if cuts else len(packet)
            if room < len(packet):
                cuts.pop(0)
                self._bytes = 0
                self.counts["cut"] += 1
                part = packet[: max(1, room)]
            else:
                part = packet
                self._bytes += len(packet)
        target.sendall(part)
        if part is not packet:
            raise ConnectionAbortedError("cut")

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            with self._lock:
                self._open.discard(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def go(self) -> None:
        """Nobody answers any more."""
        self.weather.gone = True
        with self._lock:
            ends = list(self._open)
        self._close(*ends)

    def stop(self) -> None:
        """End everything."""
        self._stopping.set()
        self._listener.close()
        self.go()
