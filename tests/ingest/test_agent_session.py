"""Sessions that read agents' envelopes in bulk: lost connections, refusals, giants, a full lane."""

from __future__ import annotations

import itertools
import socket
import threading
from dataclasses import replace
from fractions import Fraction

import pytest
import structlog

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest import inbox, mqtt_feed
from ingest import mqtt_wire as wire
from ingest.agent_session import AgentSession
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.mqtt_feed import BrokerAddress, MqttFeed
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from mrv.channel import (
    MAX_TABLE_BYTES,
    AssuranceTier,
    Channel,
    ChannelKind,
    ChannelTable,
    render_table,
)
from mrv.envelope import MAX_BYTES, Clock, ClockState
from mrv.verification.note import SecretKey, sign

SITE = "x"


class Broker:
    """One connection at a time, answered by hand: what a real broker does only by chance."""

    def __init__(self, granted=1):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._granted = granted

    def accept(self):
        """Let the next one in and grant its subscription; the connection."""
        self._listener.settimeout(30)
        self.line, _ = self._listener.accept()
        self.line.settimeout(30)
        self.seen = wire.Splitter()
        self.packets = []
        assert self.next()[0] == 0x10
        self.line.sendall(b"\x20\x02\x01\x00")
        head, body = self.next()
        assert head == 0x82
        self.line.sendall(wire.packet(0x90, body[:2] + bytes([self._granted])))

    def next(self):
        """The next packet but a ping: (first byte, body)."""
        while True:
            while not self.packets:
                data = self.line.recv(1 << 16)
                assert data, "the connection was closed"
                self.packets = [(h, b) for h, b, _ in self.seen.feed(data) if h != 0xC0]
            return self.packets.pop(0)

    def publish(self, payload, mid, again=False):
        self.line.sendall(wire.publish("a/b", payload, mid, again=again))

    def close(self):
        self.line.close()
        self._listener.close()


class Taker:
    """Keeps what a session hands over until told to acknowledge it."""

    def __init__(self):
        self.items = []
        self.came = threading.Condition()

    def __call__(self, session, arrived, connection):
        with self.came:
            self.items += [(one, session, connection) for one in arrived]
            self.came.notify_all()
        return True

    def first(self, count):
        with self.came:
            assert self.came.wait_for(lambda: len(self.items) >= count, 30)
            return self.items[:count]


def test_what_came_by_a_lost_connection_is_not_acknowledged_on_the_next_one():
    """The broker may give its packet id to another message there, which would then be lost."""
    broker, taker = Broker(), Taker()
    session = AgentSession("s", BrokerAddress(broker.port), taker)
    session.start(["a/b"])
    broker.accept()
    broker.publish(b"old", 7)
    ((old, _, first),) = taker.first(1)
    broker.line.close()
    broker.accept()
    broker.publish(b"another", 7)
    _, (another, _, second) = taker.first(2)
    assert (old.payload, another.payload, old.mid, another.mid) == (b"old", b"another", 7, 7)
    assert second != first
    session.acknowledge([7], first)
    broker.publish(b"old", 8, again=True)
    third = taker.first(3)[2][2]
    session.acknowledge([8], third)
    assert broker.next() == (0x40, b"\0\x08")
    session.acknowledge([7], second)
    assert broker.next() == (0x40, b"\0\x07")
    session.leave()
    session.join()
    broker.close()


def test_a_refused_subscription_is_told_and_tried_again():
    broker = Broker(granted=0x80)
    session = AgentSession("s", BrokerAddress(broker.port), Taker())
    with structlog.testing.capture_logs() as logs:
        session.start(["a/b"])
        for _ in range(2):
            broker.accept()
            assert broker.line.recv(1) == b""
    assert not session.subscribed.is_set()
    assert "does not let us read a/b" in logs[0]["error"]
    session.leave()
    session.join()
    broker.close()


def test_a_packet_in_pieces_and_two_in_one_piece_are_the_same_messages():
    broker, taker = Broker(), Taker()
    session = AgentSession("s", BrokerAddress(broker.port), taker)
    session.start(["a/b"])
    broker.accept()
    data = wire.publish("a/b", b"one" * 100, 1) + wire.publish("a/b", b"two", 2)
    for byte in data[:200]:
        broker.line.sendall(bytes([byte]))
    broker.line.sendall(data[200:] + wire.publish("a/b", b"three", 3))
    assert [item[0].payload for item in taker.first(3)] == [b"one" * 100, b"two", b"three"]
    session.leave()
    session.join()
    broker.close()


def until(seen):
    pause = threading.Event()
    for _ in range(6000):
        if seen():
            return True
        pause.wait(0.005)
    return False


class Held(Receiver):
    """A receiver that is held up until told otherwise."""

    gate = None

    def take(self, messages, looked=None):
        assert self.gate.wait(60)
        return super().take(messages, looked)


class Listening:
    """A subscriber of one agent at a real broker, and a sender of any bytes."""

    def __init__(self, folder, port):
        ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
        self.quarantine = Quarantine(folder / "quarantine.db")
        self.key = SecretKey.generate("a")
        keys = {"a": [self.key.public]}
        self.receiver = Held(
            self.journal, self.quarantine, ring.receipts, lambda name: keys.get(name, [])
        )
        self.receiver.gate = threading.Event()
        self.subscriber = Subscriber(self.receiver, SITE, port, agents=lambda: ["a"])
        self.sender = MqttFeed(BrokerAddress(port), "sender", ["nothing"])
        self.sender.connect()
        assert until(self.subscriber.ready)

    def send(self, payloads, kind="readings/l"):
        topic = f"meterprint/1/{SITE}/a/{kind}"
        packets = [wire.publish(topic, payload, mid + 1) for mid, payload in enumerate(payloads)]
        self.sender._send(b"".join(packets))
        while self.sender._stuck:
            self.sender.receive(0.05)

    def close(self):
        self.receiver.gate.set()
        self.sender.leave()
        self.subscriber.stop()
        self.journal.close()
        self.quarantine.close()


@pytest.mark.broker
def test_a_giant_is_quarantined_by_its_beginning_with_its_whole_size(tmp_path, mosquitto):
    rig = Listening(tmp_path, mosquitto.port)
    rig.receiver.gate.set()
    try:
        for size in (MAX_BYTES, MAX_BYTES + 1, 5 * MAX_BYTES):
            rig.send([b"x" * size])
        assert until(lambda: rig.receiver.tally.received == 3)
        assert until(lambda: sum(rig.quarantine.counts().values()) == 3)
        assert rig.receiver.tally.quarantined == {"malformed": 1, "too_large": 2}
        details = {row["detail"] for row in rig.quarantine.recent(3)}
        assert {f"{MAX_BYTES + 1} bytes", f"{5 * MAX_BYTES} bytes"} < details
    finally:
        rig.close()


@pytest.mark.broker
def test_the_table_of_a_large_gateway_is_taken(tmp_path, mosquitto):
    """Three thousand channels are 0.9 MB; an envelope of that size is refused."""
    one = Channel(
        "", ChannelKind.COUNTER, "", "1" * 20, "energy_import", Fraction(1, 100), "kWh",
        Fraction(1), "f" * 64, AssuranceTier.AGENT_SIGNED, 0, "line-1",
    )  # fmt: skip
    names = [f"meter-{n:05}" for n in range(3000)]
    table = ChannelTable(
        SITE, "a", tuple(replace(one, name=f"{n}.energy_import", instrument=n) for n in names)
    )
    rig = Listening(tmp_path, mosquitto.port)
    rig.receiver.gate.set()
    note = sign(render_table(table), rig.key)
    assert 900_000 < len(note) < MAX_TABLE_BYTES
    try:
        rig.send([note], "birth")
        assert until(lambda: rig.journal.size == 1)
        assert rig.journal.entry(0).note == note
        rig.send([note])
        assert until(lambda: sum(rig.quarantine.counts().values()) == 1)
        assert rig.receiver.tally.quarantined == {"too_large": 1}
    finally:
        rig.close()


@pytest.mark.broker
def test_a_full_lane_is_not_read_but_the_broker_is_pinged_and_keeps_the_session(
    tmp_path, mosquitto, monkeypatch
):
    """With a keep-alive of one second Mosquitto drops whoever is silent for 1.5 s (§3.1.2.10)."""
    monkeypatch.setattr(mqtt_feed, "KEEPALIVE_S", 1)
    monkeypatch.setattr(inbox, "PING_S", 0.2)
    rig = Listening(tmp_path, mosquitto.port)
    rig.subscriber._inbox.lanes._lane_messages = 5
    chain = StreamChain(SITE, "l", rig.key, "", None, now=lambda: 1, epoch="e" * 16)
    clock = Clock(ClockState.SYNCHRONISED, 1, "t")
    sent = [chain.cut([RawReading("m.e", i, 0, i)], clock)[0].note for i in range(1, 61)]
    pinged = threading.Event()
    count = itertools.count()
    real = MqttFeed.keep_alive

    def keep_alive(feed):
        real(feed)
        if next(count) >= 15:  # three seconds of a full lane
            pinged.set()

    monkeypatch.setattr(MqttFeed, "keep_alive", keep_alive)
    try:
        rig.send(sent)
        assert pinged.wait(60)
        assert rig.subscriber.waiting == {"a": 5}
        assert rig.subscriber.ready()
        (session,) = rig.subscriber._own
        assert session._feed.connection == 1
        rig.receiver.gate.set()
        assert until(lambda: rig.journal.size == 60)
        assert session._feed.connection == 1
        assert rig.receiver.tally.duplicates == 0
    finally:
        rig.close()
