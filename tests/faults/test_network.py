"""Networks that fail between agent, broker and ingest: 0 lost, 0 double, the same footprint."""

from __future__ import annotations

import os
import random
import threading

import paho.mqtt.client as mqtt
import pytest

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from ingest import mqtt_feed
from ingest.broker import Mosquitto, find_mosquitto
from ingest.keyring import load_or_make_key
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from meterprint.site import open_site
from mrv.envelope import Clock, ClockState
from tests.conftest import missing
from tests.faults.drilled_site import expected, outcome, prepare
from tests.faults.figures import reached
from tests.faults.processes import AGENT, CHANNEL, STREAM, reading, table
from tests.faults.proxy import Proxy

ENVELOPES = int(os.environ.get("METERPRINT_NETWORK_ENVELOPES", "160"))
CUTS = int(os.environ.get("METERPRINT_NETWORK_CUTS", "1"))
"""Connections cut on each side, in the middle of a packet."""
GONE_S = float(os.environ.get("METERPRINT_NETWORK_GONE_S", "1"))
"""How long the broker is out of reach."""
EACH = 10
TOTAL = ENVELOPES * EACH
KEEPALIVE_S = 1
"""In place of the programs' 30 s, so that a half-open connection is noticed within the test."""
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")

pytestmark = [pytest.mark.slow, pytest.mark.broker]


class Rig:
    """Agent and ingest of a prepared site, each behind a proxy of its own."""

    def __init__(self, folder, seed):
        self.state = folder / "state"
        prepare(self.state, TOTAL)
        self.broker = Mosquitto(folder / "broker")
        self.above, self.below = Proxy(self.broker.port, seed), Proxy(self.broker.port, seed + 1)
        self.site = open_site(self.state)
        keyring = self.site.keyring
        receiver = Receiver(
            self.site.journal, self.site.quarantine, keyring.receipts, self.site.keys_of
        )
        self.subscriber = Subscriber(
            receiver, self.site.name, self.above.port, patience=0.5, agents=self.site.agents
        )
        key = load_or_make_key(self.state / "agents" / AGENT / "agent.key", AGENT)
        self.outbox = Outbox(folder / "outbox.db")
        self.agent = Agent(table(), {CHANNEL: STREAM}, key, self.outbox, lambda: CLOCK)
        self.publisher = Publisher(
            self.outbox, self.site.name, AGENT, keyring.receipts.public, self.below.port
        )
        self.agent.publisher = self.publisher
        self._pause = threading.Event()
        self._read = 0

    @property
    def proxies(self):
        return (self.above, self.below)

    def wait(self, seconds):
        self._pause.wait(seconds)

    def read(self, envelopes):
        """Cut so many envelopes, a little apart so that packets are not all one block."""
        for _ in range(envelopes):
            self.agent.add([reading(n) for n in range(self._read, self._read + EACH)])
            self.agent.flush()
            self._read += EACH
            self.wait(0.002)

    def finish(self):
        """Read the rest in fair weather, and wait for the last receipt."""
        for proxy in self.proxies:
            proxy.weather.gone = proxy.weather.silent = False
        self.read((TOTAL - self._read) // EACH)
        for _ in range(6000):
            if not self.outbox.depth():
                break
            self.wait(0.02)
        assert self.outbox.depth() == 0
        self.close()
        return outcome(self.state)

    def close(self):
        self.publisher.stop()
        self.subscriber.stop()
        for proxy in self.proxies:
            proxy.stop()
        self.broker.stop()
        self.outbox.close()
        self.site.close()


@pytest.fixture
def quick_keepalive(monkeypatch):
    """A half-open connection shows by a keepalive that is not answered; 30 s is long for a test."""
    real = mqtt.Client.connect_async  # which `connect` calls as well

    def quick(self, host, port=1883, keepalive=60, *others, **named):
        return real(self, host, port, KEEPALIVE_S, *others, **named)

    monkeypatch.setattr(mqtt.Client, "connect_async", quick)
    monkeypatch.setattr(mqtt_feed, "KEEPALIVE_S", KEEPALIVE_S)
    monkeypatch.setattr(mqtt_feed, "ANSWER_S", 2 * KEEPALIVE_S)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    if find_mosquitto() is None:
        missing("mosquitto")
    found = Rig(tmp_path_factory.mktemp("calm"), 0).finish()
    assert found.seen == expected(TOTAL)
    return found


def gone(rig):
    for proxy in rig.proxies:
        proxy.go()
    rig.read(ENVELOPES // 2)
    rig.wait(GONE_S)
    assert rig.outbox.depth() >= ENVELOPES // 2


def cut(rig):
    choice = random.Random(5)
    for proxy in rig.proxies:
        proxy.weather.cut_after = [choice.randrange(200, 20_000) for _ in range(CUTS)]
    rig.read(ENVELOPES // 2)
    for _ in range(3000):
        if all(proxy.counts["cut"] for proxy in rig.proxies):
            return
        rig.wait(0.02)
    raise AssertionError("no connection was cut")


def duplicated(rig):
    for proxy in rig.proxies:
        proxy.weather.duplicate = 0.5
    rig.read(ENVELOPES)
    assert rig.below.counts["duplicated"] > 0


def reordered(rig):
    for proxy in rig.proxies:
        proxy.weather.hold = 8
    rig.read(ENVELOPES)
    assert rig.below.counts["reordered"] > 0


def delayed(rig):
    for proxy in rig.proxies:
        proxy.weather.delay_s = 0.01
    rig.read(ENVELOPES)


def half_open(rig):
    for proxy in rig.proxies:
        before = proxy.counts["connections"]
        proxy.weather.silent = True
        rig.read(ENVELOPES // 4)
        for _ in range(3000):
            if proxy.counts["connections"] > before:  # noticed, and tried again
                break
            rig.wait(0.02)
        assert proxy.counts["connections"] > before
        proxy.weather.silent = False


def all_at_once(rig):
    for proxy in rig.proxies:
        proxy.weather.duplicate, proxy.weather.hold, proxy.weather.delay_s = 0.2, 4, 0.002
    cut(rig)
    rig.broker.kill()
    rig.broker.start()
    gone(rig)


@pytest.mark.parametrize(
    "weather", [gone, cut, duplicated, reordered, delayed, half_open, all_at_once]
)
def test_no_weather_loses_or_doubles_a_reading(tmp_path, calm, quick_keepalive, weather):
    rig = Rig(tmp_path, 1)
    weather(rig)
    found = rig.finish()
    assert found.seen == expected(TOTAL)
    assert found.digests == calm.digests
    for name in ("cut", "duplicated", "reordered"):
        reached(f"packets {name}", sum(proxy.counts[name] for proxy in rig.proxies))
