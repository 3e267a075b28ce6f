"""What ingest needs of a broker, and ports of the loopback interface."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

LOOPBACK = "127.0.0.1"
"""The only address we listen on without authentication."""


class Broker(Protocol):
    """A running broker."""

    label: str
    """What it is: mosquitto, demo broker, somebody else's."""
    host: str
    """Where this process reaches it."""
    port: int
    """TCP port for agents."""

    username: str
    """User to log in with, "" = none."""
    password: str
    """Password, "" = none."""
    tls: ssl.SSLContext | None
    """How to speak to it, None = in the clear, which is for loopback only."""

    @property
    def ingest_port(self) -> int:
        """TCP port for ingest; the same one where nobody is asked who he is."""
        ...

    def revive(self) -> bool:
        """Start it again where it has ended by itself; whether it had. Raises MeterprintError."""
        ...

    def stop(self) -> None:
        """End it, if it is ours; returns when it is gone."""
        ...


@dataclass(slots=True)
class OthersBroker:
    """A broker somebody else runs."""

    host: str
    """Where it listens."""
    port: int
    """TCP port."""
    tls: ssl.SSLContext | None = None
    """How to speak to it."""
    username: str = ""
    """User to log in with."""
    password: str = ""
    """Password."""
    label: str = "broker"
    """What it is called in messages."""

    @property
    def ingest_port(self) -> int:
        """Port that was named for ingest."""
        return self.port

    def revive(self) -> bool:
        """Whoever runs it starts it again."""
        return False

    def stop(self) -> None:
        """It goes on."""


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody accepts connections there."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
