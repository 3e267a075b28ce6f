"""The publisher against a real Mosquitto and a real ingest."""

from __future__ import annotations

import threading

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from ingest.entry import EntryKind
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from mrv.envelope import Clock, ClockState, parse
from mrv.strict_json import dumps, loads
from mrv.verification.note import SecretKey, split
from tests.faults.test_hostile import TABLE

pytestmark = [pytest.mark.broker, pytest.mark.slow]
S = 10**9
SITE = TABLE.site
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")
LONG = 60


class Plant:
    """An agent with its outbox, and a site that can be away."""

    def __init__(self, folder, port):
        self.ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, self.ring.checkpoints)
        self.quarantine = Quarantine(folder / "quarantine.db")
        self.key = SecretKey.generate("a")
        self.receiver = Receiver(
            self.journal, self.quarantine, self.ring.receipts, lambda _: [self.key.public]
        )
        self.outbox = Outbox(folder / "outbox.db")
        self.agent = Agent(TABLE, {"m.e": "l", "air.e": "l"}, self.key, self.outbox, lambda: CLOCK)
        self.port = port
        self.sent = 0
        self.committed = threading.Event()
        self.publisher = None
        self.subscriber = None

    def read(self, envelopes, each=50):
        for _ in range(envelopes):
            start = self.sent
            rows = [RawReading("m.e", (start + i) * S, 0, 7 * (start + i)) for i in range(each)]
            self.agent.add(rows)
            self.agent.flush()
            self.sent += each

    def connect(self):
        self.publisher = Publisher(self.outbox, SITE, "a", self.ring.receipts.public, self.port)
        self.agent.publisher = self.publisher

    def ingest(self, on_committed=None):
        self.subscriber = Subscriber(
            self.receiver, SITE, self.port, on_committed=on_committed, patience=600
        )

    def envelopes(self):
        return [
            parse(split(e.note)[0]) for e in self.journal.entries() if e.kind is EntryKind.ENVELOPE
        ]

    def close(self):
        for part in (self.publisher, self.subscriber):
            if part is not None:
                part.stop()
        self.outbox.close()
        self.quarantine.close()
        self.journal.close()


@pytest.fixture
def plant(tmp_path, mosquitto):
    made = Plant(tmp_path, mosquitto.port)
    yield made
    made.close()


class Listener:
    """A plain MQTT client that counts what comes by and can speak."""

    def __init__(self, port, topic, enough):
        self.seen = []
        self.reached = threading.Event()
        self.ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)

        def arrived(_client, _data, message):
            self.seen.append((message.topic, bytes(message.payload)))
            if enough(self.seen):
                self.reached.set()

        self.client.on_message = arrived
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe(topic, 1)
        self.client.loop_start()
        assert self.ready.wait(LONG)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_what_is_read_now_overtakes_a_backlog_and_receipts_free_both(plant):
    plant.read(600)
    backlog = plant.sent
    begun = threading.Event()
    plant.ingest(on_committed=lambda _: begun.set())
    plant.connect()
    assert begun.wait(LONG)
    plant.read(1)
    assert plant.publisher.drained.wait(LONG)
    values = [e.cols[0].v[0] // 7 for e in plant.envelopes()]
    assert sorted(values) == list(range(0, backlog + 50, 50))
    assert values.index(backlog) < len(values) // 2, "it stood behind the backlog"
    old = [v for v in values if v != backlog]
    assert old == sorted(old), "the backlog comes in its order"
    assert plant.outbox.depth() == 0
    assert plant.receiver.tally.duplicates == 0


def test_a_broker_that_takes_everything_frees_nothing(plant, mosquitto):
    listener = Listener(mosquitto.port, "meterprint/1/+/a/readings/#", lambda s: len(s) == 5)
    plant.connect()
    assert plant.publisher.connected.wait(LONG)
    plant.read(5)
    assert listener.reached.wait(LONG)
    depth = plant.outbox.depth()
    plant.publisher.stop()
    plant.publisher = None
    listener.close()
    assert depth == 6 == plant.outbox.depth()
    plant.ingest()
    plant.connect()
    assert plant.publisher.drained.wait(LONG)
    assert len(plant.envelopes()) == 5


def test_a_site_that_is_away_is_not_flooded_and_gets_everything_once_it_is_back(plant, mosquitto):
    plant.ingest()
    assert plant.subscriber.connected.wait(LONG)
    plant.subscriber.stop()  # its session stays at the broker
    plant.subscriber = None
    listener = Listener(mosquitto.port, "meterprint/1/+/a/readings/#", lambda s: len(s) >= 400)
    plant.connect()
    assert plant.publisher.connected.wait(LONG)
    plant.read(450)
    assert not listener.reached.wait(3), "more on the way than the windows allow"
    assert len(listener.seen) <= 300
    listener.close()
    plant.ingest()
    assert plant.publisher.drained.wait(LONG)
    assert len(plant.envelopes()) == 450


def test_what_a_site_wants_comes_again_as_it_was_and_impossible_wants_are_refused(plant):
    plant.ingest()
    plant.connect()
    plant.read(80)
    assert plant.publisher.drained.wait(LONG)
    before = {e.identity: e.note for e in plant.journal.entries()}
    epoch = plant.outbox.head("l").epoch
    again = Listener(plant.port, f"meterprint/1/{SITE}/a/readings/l", lambda s: len(s) >= 61)
    topic = f"meterprint/1/{SITE}/a/want/l"
    for body in (b"{}", b"[[1]]", b"\xff", b'[["x",0,99]]', dumps([[epoch, 5, 10**15]])):
        again.client.publish(topic, body, qos=1)
    again.client.publish(topic, dumps([[epoch, 0, 60]]), qos=1)
    assert again.reached.wait(LONG)
    assert plant.publisher.drained.wait(LONG)
    again.close()
    notes = set(before.values())
    assert all(payload in notes for _, payload in again.seen)
    assert {e.identity for e in plant.journal.entries()} == set(before)
    assert plant.publisher.refused_receipts == 3


def test_receipts_of_strangers_and_for_others_free_nothing(plant, mosquitto):
    from mrv.receipt import Receipt, render_receipt
    from mrv.verification.note import sign

    listener = Listener(mosquitto.port, "meterprint/1/+/a/readings/#", lambda s: len(s) == 1)
    plant.connect()
    plant.read(1)
    assert listener.reached.wait(LONG)
    head = plant.outbox.head("l")
    forger = SecretKey.generate(f"{SITE}/receipts")
    for agent, key in (("a", forger), ("b", plant.ring.receipts)):
        receipt = Receipt("o", agent, "l", head.epoch, ((0, 0, head.identity),), (), 0, 1)
        note = sign(render_receipt(receipt), key)
        listener.client.publish(f"meterprint/1/{SITE}/a/receipt/l", note, qos=1)
    wait = threading.Event()
    for _ in range(600):
        if plant.publisher.refused_receipts == 2:
            break
        wait.wait(0.1)
    listener.close()
    assert plant.publisher.refused_receipts == 2
    assert plant.outbox.depth() == 2


def test_the_state_says_how_deep_the_outbox_is_and_what_the_agent_told(plant, mosquitto):
    def told(seen):
        return any(loads(body).get("storage") == "full" for _, body in seen)

    listener = Listener(mosquitto.port, "meterprint/1/+/a/state", told)
    plant.read(3)
    plant.connect()
    plant.publisher.tell(storage="full")
    assert listener.reached.wait(LONG)
    states = [loads(body) for _, body in listener.seen]
    assert states[-1]["online"] is True
    assert states[-1]["depth"] == 4
    listener.close()
