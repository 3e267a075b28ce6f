"""The door session: acknowledgements belong to a connection, and no message ends its thread."""

from __future__ import annotations

import threading

import pytest
import structlog

from ingest import mqtt_wire as wire
from ingest.inbox import Inbox, acknowledge
from ingest.mqtt_feed import Arrived, BrokerAddress, FeedLost, MqttFeed
from ingest.session import Session
from tests.ingest.test_agent_session import Broker

TOPIC = "meterprint/1/x/a/batch-events"


class Kept:
    """An inbox whose messages wait in their lanes until they are taken."""

    def __init__(self):
        self.inbox = Inbox(None)

    def take(self, count):
        found = []
        while len(found) < count:
            found += self.inbox.lanes.take(count, 30, 0)
        return found


def door(broker, inbox):
    session = Session("x-ingest", "127.0.0.1", broker.port, ("", ""), inbox.arrived)
    session.start([TOPIC])
    broker.accept()
    return session


def test_what_came_by_a_lost_connection_is_not_acknowledged_on_the_next_one():
    """The broker may give its packet id to another batch event there, which nobody sends again."""
    broker, kept = Broker(), Kept()
    session = door(broker, kept.inbox)
    broker.line.sendall(wire.publish(TOPIC, b"old", 7))
    (old,) = kept.take(1)
    broker.line.close()
    broker.accept()
    broker.line.sendall(wire.publish(TOPIC, b"another", 7))
    (another,) = kept.take(1)
    acknowledge([old])  # committed only now
    broker.line.sendall(wire.publish(TOPIC, b"old", 8, again=True))
    (again,) = kept.take(1)
    acknowledge([again])
    assert broker.next() == (0x40, b"\0\x08")
    acknowledge([another])
    assert broker.next() == (0x40, b"\0\x07")
    session.stop()
    broker.close()


def test_a_message_on_a_topic_that_is_no_text_is_passed_over():
    broker, kept = Broker(), Kept()
    session = door(broker, kept.inbox)
    with structlog.testing.capture_logs() as logs:
        broker.line.sendall(wire.publish(b"meterprint/1/x/\xff\xfe/birth", b"?", 3))
        assert broker.next() == (0x40, b"\0\x03")  # or it would come again and again
    assert [row["event"] for row in logs] == ["topic_unreadable"]
    broker.line.sendall(wire.publish(TOPIC, b"good", 4))
    assert kept.take(1)[0].message.payload == b"good"
    session.stop()
    broker.close()


def test_a_topic_nobody_asked_for_ends_no_session():
    """A broker may have subscriptions for us that an earlier version made."""
    kept = Kept()
    some = [Arrived(topic, b"x", 0, False, 0, False) for topic in (b"a", b"", b"a/b/c/d")]

    class Silent:
        def acknowledge(self, mids, connection):
            assert not mids

        def keep_alive(self):
            pass

    assert kept.inbox.read(Silent(), some, 1)
    assert [(d.message.agent, d.message.kind) for d in kept.take(3)] == [("", "")] * 3


class Reconnecting(list):
    """Packet ids; whoever looks at them finds that the connection has changed meanwhile."""

    def __init__(self, mids, change):
        super().__init__(mids)
        self.change = change

    def __iter__(self):
        self.change()
        return super().__iter__()


def test_a_connection_that_changes_while_one_acknowledges_gets_no_old_acknowledgement():
    broker = Broker()
    feed = MqttFeed(BrokerAddress(broker.port), "s", ["a/b"])

    def connect():
        accepting = threading.Thread(target=broker.accept)
        accepting.start()
        feed.connect()
        accepting.join(30)

    connect()
    first = feed.connection

    def change():
        feed.close()
        connect()

    feed.acknowledge(Reconnecting([7], change), first)
    assert feed.connection == first + 1
    feed.acknowledge([8], feed.connection)
    assert broker.next() == (0x40, b"\0\x08")
    feed.close()
    broker.close()


@pytest.mark.parametrize(
    "address", [BrokerAddress(1883, "a..b"), BrokerAddress(1883, "x" * 70), BrokerAddress(70_000)]
)
def test_an_address_that_cannot_be_one_is_a_lost_feed_and_ends_no_thread(address):
    with pytest.raises(FeedLost, match="no MQTT broker answers"):
        MqttFeed(address, "s", ["a/b"]).connect()
