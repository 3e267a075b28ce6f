"""A session of ingest for the envelopes of one agent, read in bulk (ADR 31).

A thread of its own reads and hands over. While the hand-over waits, as the agent's lane is full,
nothing is read from this session's socket, so the wait reaches the broker through TCP; the broker
is pinged meanwhile. A connection that is lost is made again, ever later; what was not acknowledged
comes again on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from ingest.mqtt_feed import Arrived, BrokerAddress, FeedLost, MqttFeed
from mrv.channel import MAX_TABLE_BYTES

LOOK_S = 5.0
"""Longest wait for a message before looking whether there is something else to do, s."""
RETRY_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before the broker is tried again, the last one from then on."""

log = structlog.get_logger("ingest")

Handler = Callable[["AgentSession", Sequence[Arrived], int], bool]
"""Takes messages and the connection they came by, and may wait; False = nothing is taken any more.

It runs in the session's thread; it or another thread acknowledges.
"""


class AgentSession:
    """A persistent session of its own name at the broker."""

    def __init__(self, name: str, address: BrokerAddress, handler: Handler) -> None:
        self._name = name
        self._handler = handler
        self._feed = MqttFeed(address, name, (), MAX_TABLE_BYTES)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.subscribed = threading.Event()

    def start(self, topics: Sequence[str]) -> None:
        """Listen to topics from now on, as soon as the broker answers."""
        self._feed.listen(topics)
        self._thread.start()

    def add(self, topics: Sequence[str]) -> None:
        """Listen to more."""
        self._feed.listen(topics)

    def _work(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            try:
                self._feed.connect()
                while not self._stopping.is_set():
                    arrived = self._feed.receive(LOOK_S)
                    if self._feed.subscribed and not self.subscribed.is_set():
                        self.subscribed.set()
                    if arrived or self.subscribed.is_set():
                        tries = 0  # it works, as long as it lasts
                    if arrived and not self._handler(self, arrived, self._feed.connection):
                        self._stopping.set()
            except FeedLost as error:
                if not self._stopping.is_set():
                    log.warning("broker_lost", session=self._name, error=str(error))
            finally:
                self.subscribed.clear()
            self._stopping.wait(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
        self._feed.leave()

    def keep_alive(self) -> None:
        """Keep the connection while nothing is read from it."""
        self._feed.keep_alive()

    def acknowledge(self, mids: Sequence[int], connection: int) -> None:
        """Acknowledge messages that came by a connection; never waits."""
        self._feed.acknowledge(mids, connection)

    def leave(self) -> None:
        """Say good-bye; what is not acknowledged comes again at the next start."""
        self._stopping.set()
        self._feed.interrupt()

    def join(self) -> None:
        """Wait until it has left."""
        self._thread.join(timeout=30)
