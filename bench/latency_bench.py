"""From a reading to the footprint that holds it: 2,000 readings/s, open loop, flush 20 ms.

An agent of its own process takes twenty counters a hundred times a second each, at moments fixed
beforehand, and cuts envelopes every 20 ms. `meterprint serve` is the real program. A client holds
its event stream, which says the batch's footprint at each change. Every counter rises by one count
a reading, and factor and resolution are 1, so the footprint says how many readings are in it. A
reading's latency runs from the moment it was due to the arrival of the first figure that holds it:
a late figure is counted for every reading that waited for it (no coordinated omission).

Limit of the same run: twice the round trip of a QoS 1 message over Mosquitto on loopback and one
fdatasync of 4 KiB, medians.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import missing, record
from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading
from ingest import mqtt_wire as wire
from ingest.broker import Mosquitto, find_mosquitto
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.envelope import Clock, ClockState
from mrv.verification.note import PublicKey, SecretKey

SITE = "bench"
METERS = 20
RATE = 2_000
FLUSH_S = 0.02
SECONDS = 20.0
WARM_S = 3.0
"""Readings of the first seconds are sent and not counted: programs load their parts."""
RUNS = 3
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "bench")
PROCESSES = multiprocessing.get_context("fork")


def write_plant(folder: Path) -> Path:
    """A line with twenty meters, each a source of its own, of a factor of one."""
    (folder / "factors.csv").write_text(
        "id,name,category,region,valid_from,valid_to,value,unit,gas_or_co2e,gwp_basis,"
        "uncertainty_pct,source,source_year,notes\n"
        "one,One,electricity_co2,GLO,,,1,kgCO2e/kWh,CO2e,n/a,,A bench's own,2026,\n"
    )
    meters = "".join(
        f"  - id: m{i}\n    name: {{zh: 表{i}, en: Meter {i}}}\n    kind: electricity_meter\n"
        f"    mpe_percent: 1\n    agent: gateway\n"
        f"    registers: [{{id: energy, kind: counter, unit: kWh, resolution: 1}}]\n"
        for i in range(METERS)
    )
    sources = "".join(
        f"  - id: e{i}\n    name: {{zh: 电{i}, en: Electricity {i}}}\n    line: l\n"
        f"    instrument: m{i}\n    register: energy\n    factor: {{id: one}}\n"
        for i in range(METERS)
    )
    path = folder / "plant.yaml"
    path.write_text(
        f"site: {SITE}\nname: {{zh: 测试, en: Bench}}\ntime_zone: UTC\nboundary: gate_to_gate\n"
        "factors: [factors.csv]\nlines: [{id: l, name: {zh: 线, en: Line}}]\n"
        "products: [{id: p, name: {zh: 件, en: Part}, unit: piece}]\n"
        f"instruments:\n{meters}sources:\n{sources}"
    )
    return path


def channels() -> tuple[Channel, ...]:
    """What the agent's integers mean."""
    one = Fraction(1)
    return tuple(
        Channel(
            f"m{i}.energy",
            ChannelKind.COUNTER,
            f"m{i}",
            "",
            "energy",
            one,
            "kWh",
            one,
            "",
            AssuranceTier.AGENT_SIGNED,
        )
        for i in sorted(range(METERS), key=str)
    )


def gateway(folder: Path, key: SecretKey, receipts: PublicKey, port: int, ends: Connection) -> None:
    """The agent's process: readings when they are due, an envelope every 20 ms."""
    outbox = Outbox(folder / "outbox.db")
    table = ChannelTable(SITE, "gateway", channels())
    agent = Agent(table, {c.name: "l" for c in table.channels}, key, outbox, lambda: CLOCK)
    agent.publisher = Publisher(outbox, SITE, "gateway", receipts, port)
    agent.flush()
    if not agent.publisher.connected.wait(20) or not agent.publisher.drained.wait(20):
        raise SystemExit("the agent does not get through to the broker")
    ends.send("ready")
    start = ends.recv()
    each = int(RATE * FLUSH_S)
    pause = threading.Event()
    for turn in range(int((SECONDS + WARM_S) / FLUSH_S)):
        due = start + int((turn + 1) * FLUSH_S * 1e9)
        while (left := due - time.time_ns()) > 0:
            pause.wait(left / 1e9)
        agent.add(
            [
                RawReading(f"m{n % METERS}.energy", start + due_after(n), 0, n // METERS)
                for n in range(turn * each, (turn + 1) * each)
            ]
        )
        agent.flush()
    ends.send("sent")
    ends.recv()
    agent.publisher.stop()
    outbox.close()


def due_after(number: int) -> int:
    """When reading `number` is due, ns after the start."""
    return number * 10**9 // RATE


@contextmanager
def server(folder: Path, state: Path) -> Iterator[tuple[int, int, int]]:
    """`meterprint serve` on free ports: (port of the pages, of the broker, pid)."""
    command = [sys.executable, "-m", "meterprint.cli", "serve", "--state", str(state)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--broker-port", "0"],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        stderr=(folder / "serve.log").open("w"),
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit((folder / "serve.log").read_text()[-2000:])
    url, _, broker = line.strip().partition("  ")
    try:
        yield int(url.rstrip("/").rpartition(":")[2]), int(broker.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait(30)


def post_event(port: int, body: dict[str, str]) -> None:
    """Start the batch."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json"}
    line.request("POST", "/api/v1/batch-events", json.dumps(body), headers)
    answer = line.getresponse()
    if answer.status != 201:
        raise SystemExit(f"the batch does not start: {answer.read().decode()}")
    line.close()


def watch(port: int, wanted: int, seen: list[tuple[int, int]], until: float) -> None:
    """Follow the event stream: (moment, readings in the figure) for each figure, to `wanted`."""
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    stream.request("GET", "/events")
    events = stream.getresponse()
    known = 0
    while known < wanted and time.monotonic() < until:
        kind, _, text = events.readline().partition(b": ")
        if kind != b"data" or not text.startswith(b"{"):
            continue
        now = time.time_ns()
        count = int(Fraction(json.loads(text)["footprint"])) + METERS
        if count > max(known, METERS):
            known = count
            seen.append((now, count))
    stream.close()


def latencies(start: int, seen: Sequence[tuple[int, int]], first: int, last: int) -> list[float]:
    """Ms from due to shown of readings [first, last)."""
    counts = [count for _, count in seen]
    found = []
    for number in range(first, last):
        place = bisect_left(counts, number + 1)
        if place == len(seen):
            raise SystemExit(
                f"reading {number} never came into a figure; the last held {counts[-1:]}"
            )
        found.append((seen[place][0] - start - due_after(number)) / 1e6)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are at or below."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def run(folder: Path) -> list[float]:
    """Latencies of one run, ms."""
    folder.mkdir(parents=True)
    file = load_plant(write_plant(folder))
    key = SecretKey.generate("gateway")
    site = open_site(folder / "state", SITE)
    site.state_plant(file, time.time_ns() - 10**12)
    site.enrol_agent(key.public)
    receipts = site.keyring.receipts.public
    site.close()
    with server(folder, folder / "state") as (port, broker, _):
        ends, theirs = PROCESSES.Pipe()
        agent = PROCESSES.Process(target=gateway, args=(folder, key, receipts, broker, theirs))
        agent.start()
        if not ends.poll(60) or ends.recv() != "ready":
            raise SystemExit("the agent does not get ready")
        start = time.time_ns() + 500_000_000
        event = {"id": "e1", "line": "l", "batch": "B", "product": "p", "event": "start"}
        post_event(port, event | {"t": str(start - 10**9)})
        total = int(RATE * (SECONDS + WARM_S))
        seen: list[tuple[int, int]] = []
        until = time.monotonic() + 4 * (SECONDS + WARM_S) + 30
        watcher = threading.Thread(target=watch, args=(port, total, seen, until))
        watcher.start()
        ends.send(start)
        watcher.join()
        ends.send("end")
        agent.join()
    return latencies(start, seen, int(RATE * WARM_S), total)


def round_trip(folder: Path) -> float:
    """Median time from PUBLISH to PUBACK over Mosquitto, s."""
    broker = Mosquitto(folder)
    line = socket.create_connection(("127.0.0.1", broker.port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(wire.connect("rtt", keepalive=60, clean=True))
    line.recv(64)
    times = []
    for i in range(500):
        started = time.perf_counter()
        line.sendall(wire.publish("a/b", b"x" * 2000, i + 1))
        line.recv(64)
        times.append(time.perf_counter() - started)
    line.close()
    broker.stop()
    return statistics.median(times)


def sync_time(folder: Path) -> float:
    """Median time of an fdatasync after 4 KiB, s."""
    times = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(300):
            file.write(b"x" * 4096)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Three runs; the figure is the median of their p50."""
    if find_mosquitto() is None:
        missing("mosquitto: run make servers")
    halves, tails, far = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trip, sync = round_trip(folder / "broker"), sync_time(folder)
        for number in range(RUNS):
            found = run(folder / str(number))
            halves.append(quantile(found, 0.5))
            tails.append(quantile(found, 0.99))
            far.append(quantile(found, 0.999))
            print(
                f"  run {number}: p50 {halves[-1]:.1f} ms, p99 {tails[-1]:.1f} ms, "
                f"p99.9 {far[-1]:.1f} ms, worst {max(found):.1f} ms of {len(found):,}"
            )
    middle, tail, farthest = (statistics.median(v) for v in (halves, tails, far))
    limit = (2 * trip + sync) * 1e3
    print(f"latency: p50 {middle:.1f} ms, p99 {tail:.1f} ms, p99.9 {farthest:.1f} ms")
    print(f"limit: 2 × {trip * 1e3:.2f} ms round trip + {sync * 1e3:.2f} ms fdatasync")
    record(
        "latency",
        round(middle, 2),
        f"ms, p50 at 2,000 readings/s (p99 {tail:.0f}, p99.9 {farthest:.0f})",
        {"two_round_trips_and_a_sync_ms": round(limit, 3)},
        {},
        [round(value, 2) for value in halves],
        faster_is_less=True,
    )


if __name__ == "__main__":
    main()
