"""A backlog of hours goes out while the plant goes on: how fast, and how fresh the live data stay.

An agent in a process of its own has gathered `--hours` of 50 instruments × 20 registers a second
while its site was away; then the site comes back. The figure is the drain rate over the live rate;
the age of the newest live reading when it is in the journal stands beside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import record
from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from ingest.broker import Mosquitto
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.envelope import Clock, ClockState
from mrv.verification.note import PublicKey, SecretKey

SITE, AGENT = "bench", "gateway"
INSTRUMENTS, REGISTERS, LINES = 50, 20, 5
S = 10**9
WANTED, FRESH_S = 10.0, 2.0
"""Design §6: ten times the live rate, live data at most two seconds old meanwhile."""
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "bench")


def channels() -> ChannelTable:
    """A thousand counters."""
    rows = tuple(
        Channel(
            f"m{i:02}.r{r:02}",
            ChannelKind.COUNTER,
            f"m{i:02}",
            "",
            f"r{r:02}",
            Fraction(1, 100),
            "kWh",
            Fraction(1),
            "",
            AssuranceTier.AGENT_SIGNED,
        )
        for i in range(INSTRUMENTS)
        for r in range(REGISTERS)
    )
    return ChannelTable(SITE, AGENT, rows)


def second(table: ChannelTable, t: int) -> list[RawReading]:
    """What a sweep of all instruments that ended at `t` has brought."""
    count = t // S
    return [
        RawReading(c.name, t - 500_000 * (999 - n), 0, 1000 * n + count * (n % 7 + 1))
        for n, c in enumerate(table.channels)
    ]


def gather(folder: Path, key: SecretKey, start: int, seconds: int) -> tuple[int, int]:
    """The outage: readings committed while nobody listens; (readings, bytes of the outbox)."""
    table = channels()
    streams = {c.name: f"line-{int(c.instrument[1:]) % LINES}" for c in table.channels}
    outbox = Outbox(folder / "outbox.db")
    agent = Agent(table, streams, key, outbox, lambda: CLOCK)
    for n in range(seconds):
        agent.add(second(table, start + n * S))
        agent.flush(start + (n + 1) * S)
    used = outbox.used_bytes()
    outbox.close()
    return seconds * len(table.channels), used


def live(folder: Path, secret: bytes, receipts: str, port: int, stop: Any) -> None:
    """The agent after the outage: a sweep every second, the publisher beside it."""
    table = channels()
    streams = {c.name: f"line-{int(c.instrument[1:]) % LINES}" for c in table.channels}
    outbox = Outbox(folder / "outbox.db")
    agent = Agent(table, streams, SecretKey(AGENT, secret), outbox, lambda: CLOCK)
    publisher = Publisher(outbox, SITE, AGENT, PublicKey.parse(receipts), port)
    agent.publisher = publisher
    while not stop.wait(1.0):
        agent.add(second(table, time.time_ns()))
        agent.flush()
    publisher.stop()
    outbox.close()


def run(folder: Path, seconds: int) -> tuple[float, list[float], float]:
    """(drain rate over live rate, ages of live readings in s, bytes a reading on disk)."""
    key = SecretKey.generate(AGENT)
    begun = time.time_ns()
    total, used = gather(folder, key, begun - (seconds + 60) * S, seconds)
    ring = Keyring.open(folder / "keys", SITE)
    journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
    quarantine = Quarantine(folder / "quarantine.db")
    receiver = Receiver(journal, quarantine, ring.receipts, lambda _: [key.public])
    done, ages, old = threading.Event(), [], 0
    first = last = 0.0

    def took(items: Any) -> None:
        nonlocal old, first, last
        now = time.time()
        for item in items:
            envelope = item.accepted.draft.envelope
            if not item.new or envelope is None or not envelope.cols:
                continue
            if envelope.cols[0].t0 >= begun:
                if not done.is_set():
                    ages.append(now - max(c.t0 for c in envelope.cols) / S)
            else:
                first = first or now
                last = now
                old += envelope.readings
                if old >= total:
                    done.set()

    broker = Mosquitto(folder / "broker")
    subscriber = Subscriber(receiver, SITE, broker.port, on_committed=took)
    stop = multiprocessing.Event()
    secret = (key.seed, ring.receipts.public.vkey)
    process = multiprocessing.Process(target=live, args=(folder, *secret, broker.port, stop))
    process.start()
    if not done.wait(seconds + 600):
        raise SystemExit(f"only {old} of {total} readings came")
    stop.set()
    process.join(60)
    subscriber.stop()
    broker.stop()
    quarantine.close()
    journal.close()
    rate = total / max(last - first, 0.001)
    return rate / (INSTRUMENTS * REGISTERS), ages, used / total


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=0.25)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-record", action="store_true")
    asked = parser.parse_args()
    figures, worst = [], 0.0
    for number in range(asked.runs):
        with tempfile.TemporaryDirectory() as folder:
            figure, ages, size = run(Path(folder), int(asked.hours * 3600))
        figures.append(round(figure, 1))
        worst = max([worst, *ages])
        middle = statistics.median(ages) if ages else float("nan")
        print(
            f"drain run {number + 1}: {figure:.1f} × the live rate of {INSTRUMENTS * REGISTERS} "
            f"readings/s; live data {middle:.2f} s old in the middle, {max(ages, default=0):.2f} s "
            f"at the most, {len(ages)} envelopes; {size:.1f} bytes a reading in the outbox",
            flush=True,
        )
    print(f"drain: limits {WANTED:.0f} × and {FRESH_S:.0f} s")
    if not asked.no_record:
        unit = f"× live rate; live data ≤ {worst:.2f} s old meanwhile"
        limits = {"wanted_times_live_rate": WANTED}
        record("drain", statistics.median(figures), unit, limits, {}, figures)


if __name__ == "__main__":
    main()
