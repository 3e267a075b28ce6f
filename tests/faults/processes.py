"""The two processes that are killed: an ingest and an agent with a known set of readings."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from ingest.keyring import Keyring, load_or_make_key
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.envelope import Clock, ClockState, parse
from mrv.verification.note import PublicKey, split

SITE = "fault-site"
AGENT = "agent-1"
S = 10**9
EACH = 20
"""Readings of one envelope."""


def readings(total: int) -> list[RawReading]:
    """`total` readings of a counter, 0.1 s apart."""
    return [RawReading("m.energy", i * S // 10, 0, 3 * i + i % 2) for i in range(total)]


def table() -> ChannelTable:
    from fractions import Fraction

    channel = Channel(
        "m.energy",
        ChannelKind.COUNTER,
        "m",
        "m",
        "energy",
        Fraction(1, 100),
        "kWh",
        Fraction(1),
        "",
        AssuranceTier.AGENT_SIGNED,
    )
    return ChannelTable(SITE, AGENT, (channel,))


def ingest(state: Path, port: int) -> None:
    site = open_site(state)
    receiver = Receiver(site.journal, site.quarantine, site.keyring.receipts, site.keys_of)
    Subscriber(receiver, site.name, port)
    threading.Event().wait()


def agent(state: Path, port: int, total: int) -> None:
    folder = state / "agents" / AGENT
    key = load_or_make_key(folder / "agent.key", AGENT)
    outbox = Outbox(folder / "outbox.db")
    done = 0
    for message in outbox.everything():
        if message.stream:
            done += parse(split(message.note)[0]).readings
    receipts: PublicKey = Keyring.open(state / "keys", SITE).receipts.public
    clock = Clock(ClockState.SYNCHRONISED, 5, "test")
    running = Agent(table(), {"m.energy": "line"}, key, outbox, lambda: clock)
    publisher = Publisher(outbox, SITE, AGENT, receipts, port)
    running.publisher = publisher
    rows = readings(total)
    for start in range(done, total, EACH):
        running.add(rows[start : start + EACH])
        running.flush()
        while outbox.depth() > 40:
            publisher.drained.wait(timeout=0.02)
    while outbox.depth():
        publisher.drained.wait(timeout=0.05)
    publisher.stop()


if __name__ == "__main__":
    role, where, at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if role == "ingest":
        ingest(where, at)
    else:
        agent(where, at, int(sys.argv[4]))
