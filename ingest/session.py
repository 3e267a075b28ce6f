"""The session of ingest for what is not envelopes, and for what it says itself: paho.

Acknowledgement is manual and the handler may wait; while it does nothing is read from this
session's socket, so the wait reaches the broker through TCP, and what it holds for this session
stays there. Other sessions go on.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

log = structlog.get_logger("ingest")

Handler = Callable[["Session", mqtt.MQTTMessage], None]
"""Told of each message, in the session's own thread; it or another thread acknowledges."""


class Session:
    """A persistent session of its own name at the broker."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        login: tuple[str, str],
        handler: Handler,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handler = handler
        self._address = (host, port)
        self._topics: list[str] = []
        self._stale: list[str] = []
        self._last: mqtt.MQTTMessageInfo | None = None
        self._lock = threading.Lock()
        self.connection = 1
        """Number of the connection that is, or of the next: a packet id belongs to one."""
        self.subscribed = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, manual_ack=True
        )
        if login[0]:
            self._client.username_pw_set(*login)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._taken
        self._client.on_message = self._arrived

    def start(self, topics: Sequence[str], stale: Sequence[str] = (), *, now: bool = False) -> None:
        """Subscribe to `topics` and no longer to `stale` ones, at each connection.

        With `now` the first connection is made before this returns; raises OSError where nobody
        answers. Otherwise it is tried until it succeeds.
        """
        self._topics, self._stale = list(topics), list(stale)
        if now:
            self._client.connect(*self._address, keepalive=30)
        else:
            self._client.connect_async(*self._address, keepalive=30)
        self._client.loop_start()

    def _connected(
        self, client: mqtt.Client, _: object, __: object, reason: ReasonCode, *___: Any
    ) -> None:
        if reason.is_failure:
            log.warning("broker_refuses", reason=str(reason))
            return
        if self._stale:
            client.unsubscribe(self._stale)
        client.subscribe([(topic, 1) for topic in self._topics])

    def _disconnected(self, *_: Any) -> None:
        self.subscribed.clear()
        with self._lock:
            self.connection += 1

    def _taken(self, *_: Any) -> None:
        self.subscribed.set()

    def _arrived(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        try:
            message.topic  # noqa: B018 (raises here rather than in the middle of something)
        except UnicodeDecodeError as error:
            log.warning("topic_unreadable", error=str(error))
            self.acknowledge([message.mid] if message.mid else [], self.connection)
            return
        self._handler(self, message)

    def acknowledge(self, mids: Sequence[int], connection: int) -> None:
        """Acknowledge messages of QoS 1 that came by a connection, unless it is gone.

        On the next one the broker may give their packet ids to other messages.
        """
        with self._lock:
            if connection == self.connection:
                for mid in mids:
                    self._client.ack(mid, 1)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1."""
        self._last = self._client.publish(topic, payload, qos=1)

    def flush(self, timeout: float) -> None:
        """Wait until what was published last has reached the broker, if it can be reached."""
        if self._last is not None and self.subscribed.is_set():
            with contextlib.suppress(RuntimeError):  # the connection went meanwhile
                self._last.wait_for_publish(timeout)

    def stop(self) -> None:
        """Disconnect; what is not acknowledged comes again at the next start."""
        self._client.disconnect()
        self._client.loop_stop()
