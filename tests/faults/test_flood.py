"""One agent floods: the others are served in turn, and nothing grows without a bound."""

from __future__ import annotations

import os
import threading

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.lanes import LANE_MESSAGES
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.subscriber import GROUP, MAX_SESSIONS, Subscriber
from mrv.envelope import Clock, ClockState
from mrv.receipt import parse_receipt
from mrv.verification.note import SecretKey, open_note
from tests.faults.figures import reached

SITE = "x"
S = 10**9
FLOOD = int(os.environ.get("METERPRINT_FLOOD", "6000"))
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")
KEYS = {name: SecretKey.generate(name) for name in ("flood", "quiet")}


class Gated(Receiver):
    """A receiver that is held up until told otherwise, and remembers what it took."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gate = threading.Event()
        self.taken = []
        self.busy = False

    def take(self, messages, looked=None):
        assert self.gate.wait(60)
        self.busy = True
        self.taken += [message.agent for message in messages]
        committed = super().take(messages, looked)
        self.busy = False
        return committed


def client(port, on_message=None):
    made = mqtt.Client(CallbackAPIVersion.VERSION2)
    made.max_inflight_messages_set(1000)
    made.on_message = on_message
    made.connect("127.0.0.1", port)
    made.loop_start()
    return made


def envelope(agent):
    chain = StreamChain(SITE, "l", KEYS[agent], "", None, now=lambda: S, epoch="e" * 16)
    (sent,) = chain.cut([RawReading("m.e", S, 0, 1)], CLOCK)
    return sent


def until(seen):
    pause = threading.Event()
    for _ in range(6000):
        if seen():
            return True
        pause.wait(0.01)
    return False


class Flooded:
    """A held-up ingest with a flood behind it, all of which the broker has acknowledged."""

    def __init__(self, folder, port, body, agents):
        self.ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, self.ring.checkpoints)
        self.quarantine = Quarantine(folder / "quarantine.db", max_rows=500)
        self.receiver = Gated(
            self.journal,
            self.quarantine,
            self.ring.receipts,
            lambda a: [KEYS[a].public] if a in KEYS else [],
        )
        self.subscriber = Subscriber(self.receiver, SITE, port, agents=agents)
        self.receipts = []
        self.answered = threading.Event()
        self.clients = []
        assert until(self.subscriber.ready)
        flooder = self.client(port)
        for _ in range(FLOOD):
            last = flooder.publish(TOPIC % ("flood", "readings"), body, qos=1)
        last.wait_for_publish(120)
        assert last.is_published()
        self.quiet = self.client(port, self._receipt)
        self.quiet.subscribe(TOPIC % ("quiet", "receipt"), 1)
        self.sent = envelope("quiet")
        note = self.quiet.publish(TOPIC % ("quiet", "readings"), self.sent.note, qos=1)
        note.wait_for_publish(60)

    def client(self, port, on_message=None):
        self.clients.append(client(port, on_message))
        return self.clients[-1]

    def _receipt(self, *arguments):
        self.receipts.append(arguments[-1].payload)
        self.answered.set()

    def close(self):
        self.receiver.gate.set()
        for each in self.clients:
            each.disconnect()
            each.loop_stop()
        self.subscriber.stop()
        self.journal.close()
        self.quarantine.close()


TOPIC = f"meterprint/1/{SITE}/%s/%s/l"


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("what", ["rubbish", "the same envelope"])
def test_a_flood_holds_up_no_other_agent(tmp_path, mosquitto, what):
    body = b"x" * 200 if what == "rubbish" else envelope("flood").note
    flooded = Flooded(tmp_path, mosquitto.port, body, lambda: list(KEYS))
    receiver, subscriber = flooded.receiver, flooded.subscriber
    try:
        assert until(lambda: subscriber.waiting.get("quiet"))
        assert subscriber.waiting.get("flood", 0) <= LANE_MESSAGES
        receiver.gate.set()
        assert flooded.answered.wait(60)
        # the group that was held, the one behind it, and its turn
        assert receiver.taken.index("quiet") <= 2 * GROUP + 2
        text = open_note(flooded.receipts[0], [flooded.ring.receipts.public]).text
        assert parse_receipt(text).ranges == ((0, 0, flooded.sent.identity),)
        assert until(lambda: receiver.tally.received == FLOOD + 1)
        assert until(lambda: not receiver.busy)
        assert len(flooded.quarantine.recent(1000)) <= 500
        assert receiver.tally.accepted == (1 if what == "rubbish" else 2)
        assert receiver.tally.quarantined["malformed"] == (FLOOD if what == "rubbish" else 0)
    finally:
        flooded.close()
    reached("messages of a flood", FLOOD)


@pytest.mark.slow
@pytest.mark.broker
def test_behind_one_session_for_all_a_quiet_agent_would_wait_for_the_whole_flood(
    tmp_path, mosquitto
):
    flooded = Flooded(tmp_path, mosquitto.port, b"x" * 200, None)
    try:
        flooded.receiver.gate.set()
        assert flooded.answered.wait(120)
        assert flooded.receiver.taken.index("quiet") > FLOOD * 3 // 4
    finally:
        flooded.close()


@pytest.mark.slow
@pytest.mark.broker
def test_agents_beyond_the_sessions_and_those_enrolled_later_are_listened_to(tmp_path, mosquitto):
    ring = Keyring.open(tmp_path / "keys", SITE)
    journal = Journal(tmp_path / "journal.db", SITE, ring.checkpoints)
    quarantine = Quarantine(tmp_path / "quarantine.db")
    names = [f"agent-{number}" for number in range(MAX_SESSIONS + 4)]
    odd = ["a/b", "a#", "a+"]  # enrolled, and no topic can be theirs
    keys = {name: SecretKey.generate(name) for name in [*names, "late"]}
    receiver = Receiver(journal, quarantine, ring.receipts, lambda a: [keys[a].public])
    subscriber = Subscriber(receiver, SITE, mosquitto.port, agents=lambda: [*odd, *names])
    publisher = client(mosquitto.port)

    notes = {}
    for name, key in keys.items():
        chain = StreamChain(SITE, "l", key, "", None, now=lambda: S, epoch="e" * 16)
        (sent,) = chain.cut([RawReading("m.e", S, 0, 1)], CLOCK)
        notes[name] = sent.note

    def send(name):  # again and again, as an agent does until it has its receipt
        publisher.publish(f"meterprint/1/{SITE}/{name}/readings/l", notes[name], qos=1)

    try:
        assert until(subscriber.ready)
        assert until(lambda: [send(name) for name in names] and journal.size == len(names))
        send("late")  # nobody listens to it yet
        names.append("late")
        assert until(lambda: send("late") or journal.size == len(names))
        assert quarantine.counts() == {}
    finally:
        publisher.disconnect()
        publisher.loop_stop()
        subscriber.stop()
        journal.close()
        quarantine.close()
