"""The bridge on a real Mosquitto: signed on receipt, acknowledged after it is durable."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.load_generator import LoadGenerator
from ingest import mqtt_wire as wire
from ingest.bridge import Bridge
from ingest.engine_shell import EngineShell
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.mqtt_feed import BrokerAddress
from ingest.quarantine import Quarantine
from mrv.envelope import parse
from mrv.series import SeriesKey
from mrv.verification.note import SecretKey, open_note, split
from tests.ingest.bridging import BRIDGES, CLOCK, NOW, SITE, mapping, message, plant

pytestmark = pytest.mark.broker
MS = NOW // 10**6
TOPIC = "shop/sh-01/energy"


class Publisher:
    """Sends QoS 1 messages over a plain socket and waits for their acknowledgements."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.splitter = wire.Splitter()
        self.socket.sendall(wire.connect("publisher", keepalive=60, clean=True))
        self._until(wire.CONNACK, 1)

    def _until(self, kind, count):
        while count:
            data = self.socket.recv(65536)
            assert data, "the broker closed the connection"
            count -= sum(head & 0xF0 == kind for head, _, _ in self.splitter.feed(data))

    def send(self, *messages):
        """Publish (topic, payload) pairs; returns when the broker has them all."""
        for start in range(0, len(messages), 1000):
            part = messages[start : start + 1000]
            self.socket.sendall(
                b"".join(wire.publish(t, p, i + 1) for i, (t, p) in enumerate(part))
            )
            self._until(wire.PUBACK, len(part))

    def close(self):
        self.socket.sendall(wire.DISCONNECT)
        self.socket.close()


class Place:
    """The files of a site with one bridge."""

    def __init__(self, folder: Path, port: int, text: str = BRIDGES):
        self.folder = folder
        self.ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, self.ring.checkpoints)
        FactWriter(self.journal, self.ring).found("test")
        self.quarantine = Quarantine(folder / "quarantine.db")
        key = folder / "bridge.key"
        if not key.exists():
            key.write_text(SecretKey.generate("hall-bridge").skey + "\n")
        self.key = SecretKey.parse(key.read_text())
        self.grown = threading.Condition()
        self.bridge = Bridge(
            mapping(text),
            plant(),
            self.journal,
            self.quarantine,
            self.key,
            BrokerAddress(port),
            lambda: CLOCK,
            self._journalled,
            now=lambda: NOW,
        )

    def _journalled(self, placed):
        with self.grown:
            self.grown.notify_all()

    def start(self):
        self.bridge.start()
        assert self.bridge.connected.wait(10)
        return self

    def wait(self, done):
        """Until `done(tally)` holds; the bridge says when it has journalled something."""
        with self.grown:
            assert self.grown.wait_for(lambda: done(self.bridge.tally), 30), self.bridge.tally

    def shell(self):
        shell = EngineShell(self.journal)
        shell.catch_up()
        return shell

    def close(self):
        self.bridge.stop()
        self.quarantine.close()
        self.journal.close()


def values(place, channel="press.energy"):
    """(t in ms, counts) of a channel as the journal has them."""
    shell = place.shell()
    series = shell.readings.read(SeriesKey("hall-bridge", "hall", channel), 0, 2**62, 0)
    return [(t // 10**6, v) for t, v, ok in zip(series.t, series.v, series.ok, strict=True) if ok]


def envelopes(place):
    from ingest.entry import EntryKind

    entries = [e for e in place.journal.entries() if e.kind is EntryKind.ENVELOPE]
    for entry in entries:
        open_note(entry.note, [place.key.public])
    return entries


@pytest.fixture
def publisher(mosquitto):
    publisher = Publisher(mosquitto.port)
    yield publisher
    publisher.close()


def test_messages_become_signed_envelopes_of_a_chain(tmp_path, mosquitto, publisher):
    place = Place(tmp_path, mosquitto.port).start()
    sent = [(TOPIC, message(MS + i, total=f"{1000 + i}0")) for i in range(3000)]
    publisher.send(*sent)
    place.wait(lambda tally: tally.readings >= 6000)
    place.close()
    place = Place(tmp_path, mosquitto.port)
    assert values(place) == [(MS + i, 1000 + i) for i in range(3000)]
    entries = envelopes(place)
    assert len(entries) < 3000 / 50
    shell = place.shell()
    ((_, chain),) = shell.readings.chains()
    assert len(chain.heads()) == 1
    assert not chain.equivocations
    source = shell.readings.sources("press.energy")[0]
    assert [entry.tier.value for _, entry in source.tables] == ["D"]
    place.journal.close()


def test_five_faults_have_their_names_and_the_rest_goes_on(tmp_path, mosquitto, publisher):
    place = Place(tmp_path, mosquitto.port).start()
    publisher.send(
        (TOPIC, message(MS, total="1234500.001")),
        (TOPIC, message(MS + 1).replace(b"1500", b"NaN")),
        (TOPIC, message(MS + 2).replace(b'"total"', b'"totl"')),
        (TOPIC, message(MS + 3, total='"12"')),
        (TOPIC, message(MS + 4, unit='"kWh"')),
        (TOPIC, message(MS + 90_000)),
        (TOPIC, message(MS - 90_000_000)),
        ("shop/nobody/energy", message(MS)),
        (TOPIC, message(MS + 5)),
        (TOPIC, message(MS + 5)),
        (TOPIC, b"x" * 100_000),
        (TOPIC, message(MS + 6, total="1234600")),
    )
    place.wait(lambda tally: tally.received >= 12 and tally.readings >= 12)
    place.close()
    tally = place.bridge.tally
    assert tally.refused == {
        "malformed": 1,
        "time_ahead": 1,
        "time_behind": 1,
        "unknown_device": 1,
        "too_large": 1,
    }
    assert tally.flags == {"too_fine": 1, "missing": 1, "not_a_number": 1, "wrong_unit": 1}
    assert tally.duplicates == 1
    place = Place(tmp_path, mosquitto.port)
    assert values(place) == [(MS + 5, 123450), (MS + 6, 123460)]
    assert sum(place.quarantine.counts().values()) == 9
    place.quarantine.close()
    place.journal.close()


def test_nothing_is_acknowledged_before_it_is_in_the_journal(tmp_path, mosquitto, publisher):
    """The disk refuses, the process ends: the broker still has every message."""
    place = Place(tmp_path, mosquitto.port).start()
    place.wait(lambda tally: True)
    place.journal.limit_pages(1)
    sent = [(TOPIC, message(MS + i, total=f"{1000 + i}0")) for i in range(500)]
    publisher.send(*sent)
    while not place.bridge.fault:
        place.bridge.connected.wait(0.01)
    assert place.bridge.tally.readings == 0
    place.close()
    again = Place(tmp_path, mosquitto.port).start()
    again.wait(lambda tally: tally.readings >= 1000)
    assert values(again) == [(MS + i, 1000 + i) for i in range(500)]
    again.close()


def test_a_quarantine_the_disk_refuses_is_waited_for(tmp_path, mosquitto, publisher):
    """Bytes that prove nothing are kept too: the bridge neither ends nor acknowledges without."""
    place = Place(tmp_path, mosquitto.port).start()
    place.wait(lambda tally: True)
    place.quarantine._db.execute("PRAGMA max_page_count=1")
    publisher.send(*((TOPIC, b"\xff" * 60_000) for _ in range(20)))
    while not place.bridge.fault:
        place.bridge.connected.wait(0.01)
    place.quarantine._db.execute("PRAGMA max_page_count=1000000")
    publisher.send((TOPIC, message(MS)))
    place.wait(lambda tally: tally.readings >= 2)
    assert place.quarantine.counts() == {"malformed": 20}
    place.close()


def test_half_a_surrogate_pair_ends_no_bridge(tmp_path, mosquitto, publisher):
    """JSON can escape what no file and no database can hold."""
    place = Place(tmp_path, mosquitto.port).start()
    stamp = '"2025-11-24T16:00:00Z"'
    publisher.send(
        ("scale/out", f'{{"time":{stamp},"kg":1,"batch":"\\ud800"}}'.encode()),
        (TOPIC, message(MS, unit='"\\udfff"')),
        (TOPIC, message(MS)),
    )
    place.wait(lambda tally: tally.readings >= 2)
    assert place.bridge.tally.refused == {"malformed": 2}
    place.close()


def test_a_broker_that_was_away_is_found_again(tmp_path, mosquitto):
    place = Place(tmp_path, mosquitto.port).start()
    mosquitto.stop()
    while place.bridge.connected.is_set():
        place.bridge._stopping.wait(0.01)
    mosquitto.start()
    assert place.bridge.connected.wait(20)
    publisher = Publisher(mosquitto.port)
    publisher.send((TOPIC, message(MS)))
    place.wait(lambda tally: tally.readings >= 2)
    publisher.close()
    place.close()


PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from ingest import mqtt_feed
from tests.ingest.test_bridge import Place

mqtt_feed.TAKE = 16_384  # small groups, so that every round has messages left
folder, port, number, moment = sys.argv[1:]
place = Place(Path(folder), int(port))
append, count = place.journal.append, 0

def deadly(drafts):
    global count
    count += 1
    if count == int(number) and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    placed = append(drafts)
    if count == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return placed

place.journal.append = deadly
place.start()
threading.Event().wait()
"""
KILLS = int(os.environ.get("METERPRINT_BRIDGE_KILLS", "4"))
EACH = 3_000


@pytest.mark.slow
def test_killing_the_bridge_at_any_moment_loses_and_doubles_nothing(tmp_path, mosquitto):
    """Kill -9 just before and just after a commit; counted against the sender."""
    repo = Path(__file__).resolve().parents[2]
    total = EACH * KILLS
    sent = [(TOPIC.encode(), message(MS + i, total=f"{1000 + i}0")) for i in range(total)]
    draw = random.Random(25)
    first = Place(tmp_path, mosquitto.port).start()  # the session is there before the first message
    first.close()
    load = LoadGenerator(mosquitto.port, [sent])
    load.go()
    for number in range(KILLS):
        moment = ("before", "after")[number % 2]
        commit = str(draw.randrange(2, 4))  # the first one is the envelope of the start
        program = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(mosquitto.port), commit, moment],
            cwd=repo,
            env={**os.environ, "PYTHONPATH": str(repo)},
            check=False,
            timeout=120,
        )
        assert program.returncode == -signal.SIGKILL
    assert load.wait().messages == total
    place = Place(tmp_path, mosquitto.port).start()
    journalled = 0
    while journalled < 2 * total:
        journalled = sum(parse(split(entry.note)[0]).readings for entry in envelopes(place))
        with place.grown:
            place.grown.wait(0.2)
    place.close()
    place = Place(tmp_path, mosquitto.port)
    assert journalled == 2 * total
    assert values(place) == [(MS + i, 1000 + i) for i in range(total)]
    assert place.journal.verify() == []
    place.journal.close()


def test_a_small_window_of_the_broker_does_not_wait_for_the_flush(tmp_path, mosquitto, publisher):
    """Mosquitto sends 200 messages unacknowledged, far fewer than an envelope holds."""
    text = BRIDGES.replace("flush_ms: 50", "flush_ms: 10000")
    place = Place(tmp_path, mosquitto.port, text).start()
    publisher.send(*((TOPIC, message(MS + i)) for i in range(5000)))
    place.wait(lambda tally: tally.readings >= 2 * 4600)
    assert place.bridge.tally.envelopes < 100
    place.close()
