"""What sessions hand over: messages on their way into the lanes of their agents.

A session's thread waits here while the lane of an agent is full; it is not read meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import paho.mqtt.client as mqtt

from ingest.agent_session import AgentSession
from ingest.lanes import Lanes
from ingest.mqtt_feed import Arrived
from ingest.receiver import Message
from ingest.session import Session

STATE_BYTES = 4096
"""Longest state message that is looked at."""
PING_S = 5.0
"""A session that waits for room in a lane looks this often whether the broker wants a ping, s."""
MOST_TOPICS = 10_000
"""Topics whose parts are remembered."""


class Delivered(NamedTuple):
    """A message with what acknowledges it."""

    message: Message
    """What came."""
    session: Session | AgentSession
    """Where it came from."""
    mid: int
    """Its MQTT id there."""
    connection: int
    """The connection it came by."""


def acknowledge(group: Sequence[Delivered]) -> None:
    """Acknowledge messages, those that came by one connection at once."""
    mids: dict[tuple[Session | AgentSession, int], list[int]] = {}
    for _, session, mid, connection in group:
        if mid:
            mids.setdefault((session, connection), []).append(mid)
    for (session, connection), some in mids.items():
        session.acknowledge(some, connection)


class Inbox:
    """The lanes of all agents, and how messages get into them; states are told at once."""

    def __init__(self, on_state: Callable[[str, bytes], None] | None) -> None:
        self._on_state = on_state
        self._places: dict[bytes, tuple[str, str, str]] = {}
        self.lanes: Lanes[Delivered] = Lanes()

    def arrived(self, session: Session, message: mqtt.MQTTMessage) -> None:
        """Take one message of the door, waiting while its agent's lane is full."""
        connection = session.connection
        agent, kind, topic = self._place(message.topic.encode())
        payload = bytes(message.payload)
        if kind == "state":
            self._told_state(agent, payload)
            session.acknowledge([message.mid] if message.mid else [], connection)
            return
        item = Message(agent, kind, topic, payload)
        self.lanes.put(agent, Delivered(item, session, message.mid, connection), len(payload))

    def read(self, session: AgentSession, arrived: Sequence[Arrived], connection: int) -> bool:
        """Take messages of a session, waiting while the lane of their agent is full."""
        run: list[tuple[Delivered, int]] = []
        name, states = "", []
        for one in arrived:
            agent, kind, topic = self._place(one.topic)
            size = len(one.payload)
            if kind == "state":
                self._told_state(agent, one.payload)
                states.append(one.mid)
                continue
            if agent != name:
                if run and not self._fill(session, name, run):
                    return False
                name, run = agent, []
            sent = size + one.cut if one.cut else 0
            item = Message(agent, kind, topic, one.payload, sent)
            run.append((Delivered(item, session, one.mid, connection), size))
        session.acknowledge([mid for mid in states if mid], connection)
        return not run or self._fill(session, name, run)

    def _fill(
        self, session: AgentSession, agent: str, run: Sequence[tuple[Delivered, int]]
    ) -> bool:
        """Put messages into their agent's lane, however long it is full; False once closed."""
        while run:
            taken = self.lanes.put_some(agent, run, PING_S)
            if taken is None:
                return False
            run = run[taken:]
            session.keep_alive()
        return True

    def _place(self, topic: bytes) -> tuple[str, str, str]:
        """(agent, kind, the whole topic); the same few topics come again and again.

        A topic nobody asked for (a subscription of an earlier version) is nobody's.
        """
        place = self._places.get(topic)
        if place is None:
            text = topic.decode(errors="replace")
            parts = text.split("/")
            agent, kind = parts[3:5] if len(parts) > 4 else ("", "")
            if len(self._places) >= MOST_TOPICS:
                self._places.clear()
            place = self._places[topic] = (agent, kind, text)
        return place

    def _told_state(self, agent: str, payload: bytes) -> None:
        if self._on_state is not None and 0 < len(payload) <= STATE_BYTES:
            self._on_state(agent, payload)
