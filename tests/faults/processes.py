"""The processes that are killed: an ingest with its projector, and an agent with known readings.

`python -m tests.faults.processes {"role": …}`: the roles are `ingest`, `agent`, and
`puback_agent`, an agent as it must not be: it frees its outbox by PUBACK.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.agent import Agent
from edge_agent.outbox import TABLE_STREAM, Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from ingest.keyring import Keyring, load_or_make_key
from ingest.receiver import Receiver
from ingest.series_influx import InfluxStore
from ingest.subscriber import Subscriber
from meterprint.site import open_site
from meterprint.views import open_view
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.column import column_times
from mrv.envelope import Clock, ClockState, parse
from mrv.receipt import Receipt
from mrv.verification.note import split
from tests.faults.influx import DATABASE

SITE = "fault-site"
AGENT = "agent-1"
STREAM = "line"
CHANNEL = "m.energy"
S = 10**9
STEP_NS = S // 10
"""Time between two readings, ns."""
AHEAD = 40
"""Envelopes without a receipt at which the agent waits."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a process is told."""

    role: str
    """ingest | agent | puback_agent."""
    state: str
    """State directory."""
    port: int
    """Port of the broker."""
    total: int
    """Readings the agent has."""
    each: int
    """Readings of one envelope."""
    influx: str = ""
    """URL of an influxd the ingest projects into, "" = none."""

    def arguments(self) -> list[str]:
        """What to start it with, after the interpreter."""
        return ["-m", "tests.faults.processes", json.dumps(asdict(self))]


def reading(number: int) -> RawReading:
    """Reading `number` of a counter: its value tells the number, and so does its time."""
    return RawReading(CHANNEL, number * STEP_NS, 0, 3 * number + number % 2)


def table() -> ChannelTable:
    channel = Channel(
        CHANNEL,
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


def ingest(told: Role) -> None:
    """Ingest and, where there is an influxd, its projector; until killed."""
    site = open_site(Path(told.state))
    views = []
    if told.influx:
        store = InfluxStore(told.influx, DATABASE, site.name)
        views.append(open_view(site, "influx", store))

    def committed(_: object) -> None:
        for view in views:
            view.projector.wake()

    receiver = Receiver(site.journal, site.quarantine, site.keyring.receipts, site.keys_of)
    Subscriber(receiver, site.name, told.port, on_committed=committed, agents=site.agents)
    threading.Event().wait()


def cut_so_far(outbox: Outbox) -> int:
    """Readings in envelopes the outbox has or had: the last one's last time tells."""
    head = outbox.head(STREAM)
    if head is None:
        return 0
    (last,) = outbox.range(STREAM, head.epoch, head.seq, head.seq)
    times = [t for c in parse(split(last.note)[0]).cols for t in column_times(c)]
    return max(times) // STEP_NS + 1


class PubackPublisher:
    """Frees the outbox as soon as the broker acknowledges: what must never be done."""

    def __init__(self, outbox: Outbox, port: int) -> None:
        self._outbox = outbox
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._acknowledged: set[int] = set()
        self._came = threading.Event()
        self._client.on_publish = self._published
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _published(self, _: mqtt.Client, __: object, mid: int, *___: object) -> None:
        self._acknowledged.add(mid)
        self._came.set()

    def committed(self) -> None:
        """Send what is new, and free it."""
        for message in self._outbox.pending():
            name = "birth" if message.stream == TABLE_STREAM else f"readings/{message.stream}"
            topic = f"meterprint/1/{SITE}/{AGENT}/{name}"
            answer = self._client.publish(topic, message.note, qos=1)
            while answer.mid not in self._acknowledged:
                self._came.wait(0.1)
                self._came.clear()
            self._acknowledged.discard(answer.mid)
            freed = Receipt("", AGENT, "", "", (), (message.identity,), 0, 0)
            self._outbox.release(freed, 1)


def agent(told: Role) -> None:
    """Cut, publish and wait for receipts until all readings are received."""
    state = Path(told.state)
    folder = state / "agents" / AGENT
    key = load_or_make_key(folder / "agent.key", AGENT)
    outbox = Outbox(folder / "outbox.db")
    done = cut_so_far(outbox)
    clock = Clock(ClockState.SYNCHRONISED, 5, "test")
    running = Agent(table(), {CHANNEL: STREAM}, key, outbox, lambda: clock)
    publisher = None
    if told.role == "agent":
        receipts = Keyring.open(state / "keys", SITE).receipts.public
        publisher = Publisher(outbox, SITE, AGENT, receipts, told.port)
        running.publisher = publisher
    else:
        running.publisher = PubackPublisher(outbox, told.port)  # type: ignore[assignment]
    pause = threading.Event()
    for start in range(done, told.total, told.each):
        running.add([reading(n) for n in range(start, min(start + told.each, told.total))])
        running.flush()
        while outbox.depth() > AHEAD:
            pause.wait(0.01)
    while outbox.depth():
        pause.wait(0.02)
    if publisher is not None:
        publisher.stop()


if __name__ == "__main__":
    told = Role(**json.loads(sys.argv[1]))
    ingest(told) if told.role == "ingest" else agent(told)
