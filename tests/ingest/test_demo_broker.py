"""The broker of machines without Mosquitto: what an agent sends through it is journalled."""

from __future__ import annotations

import threading

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from ingest.broker_demo import DemoBroker
from ingest.keyring import load_or_make_key
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from meterprint.site import open_site
from mrv.envelope import Clock, ClockState
from tests.faults.drilled_site import prepare
from tests.faults.processes import AGENT, CHANNEL, STREAM, reading, table

READINGS = 1600


def test_readings_pass_the_demo_broker_and_are_receipted(tmp_path):
    prepare(tmp_path / "state", READINGS)
    site = open_site(tmp_path / "state")
    broker = DemoBroker(tmp_path / "broker")
    login = {"username": broker.username, "password": broker.password}
    receiver = Receiver(site.journal, site.quarantine, site.keyring.receipts, site.keys_of)
    subscriber = Subscriber(receiver, site.name, broker.port, agents=site.agents, **login)
    key = load_or_make_key(tmp_path / "state" / "agents" / AGENT / "agent.key", AGENT)
    outbox = Outbox(tmp_path / "outbox.db")
    clock = Clock(ClockState.SYNCHRONISED, 5, "test")
    agent = Agent(table(), {CHANNEL: STREAM}, key, outbox, lambda: clock)
    publisher = Publisher(
        outbox, site.name, AGENT, site.keyring.receipts.public, broker.port, **login
    )
    agent.publisher = publisher
    pause = threading.Event()
    try:
        assert subscriber.ready()
        for start in range(0, READINGS, 100):
            agent.add([reading(n) for n in range(start, start + 100)])
            agent.flush()
        for _ in range(3000):
            if not outbox.depth():
                break
            pause.wait(0.02)
        assert outbox.depth() == 0
        assert receiver.tally.readings == READINGS
        assert site.quarantine.counts() == {}
    finally:
        publisher.stop()
        subscriber.stop()
        broker.stop()
        outbox.close()
        site.close()
