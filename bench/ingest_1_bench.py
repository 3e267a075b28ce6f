"""One reading a message, as JSON: the same messages through Telegraf and through our bridge.

Theirs: MQTT at QoS 1 → InfluxDB. Ours: MQTT at QoS 1 → exact integers → signed envelopes → journal
(fsync before the acknowledgement) → the same InfluxDB. Both are processes of their own beside one
Mosquitto and one influxd; a run is over when the store has as many points as were sent. Telegraf
checks no duplicate, signs nothing and keeps no record of its own.

Limit of the same run: cores / Σ CPU cost a message of our stages measured alone (receive, decode,
cut and sign, commit).
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.load_generator import LoadGenerator, Message, split_over
from bench.results import missing, record
from bench.store_1x import Store1x, influxd_1x
from bench.telegraf import Telegraf
from footprint.plant import PlantModel
from footprint.plant_reading import read_plant
from footprint.reader import Node
from ingest import mqtt_wire as wire
from ingest.bridge import Bridge
from ingest.bridge_chain import BridgeChain
from ingest.bridge_decode import Decoder
from ingest.bridge_file import read_bridges
from ingest.bridge_mapping import BridgeMapping
from ingest.broker import Mosquitto, find_mosquitto
from ingest.collector import calm_collector
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.mqtt_feed import BrokerAddress
from ingest.projector import Projector
from ingest.quarantine import Quarantine
from mrv.envelope import Clock, ClockState, Envelope
from mrv.verification.note import SecretKey
from scripts.influxd_builds import influxd_path
from scripts.telegraf import telegraf_path

SITE = "bench"
METERS = 100
MESSAGES = 200_000
FEW = 10_000
"""Messages for Telegraf with its buffer on disk, which takes a thousand a second."""
RUNS = 3
START_MS = 1_764_000_000_000
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "bench")
TOPIC = "plant/{device}/energy"
PROCESSES = multiprocessing.get_context("fork")


def plant() -> PlantModel:
    """A hundred meters of one counter."""
    tree = {
        "site": SITE,
        "name": {"zh": "测试", "en": "Bench"},
        "time_zone": "UTC",
        "boundary": "gate_to_gate",
        "lines": [{"id": "l", "name": {"zh": "线", "en": "Line"}}],
        "products": [{"id": "p", "name": {"zh": "件", "en": "Part"}, "unit": "piece"}],
        "instruments": [
            {
                "id": f"m{i}",
                "name": {"zh": "表", "en": "Meter"},
                "kind": "electricity_meter",
                "mpe_percent": "1",
                "registers": [
                    {"id": "energy", "kind": "counter", "unit": "kWh", "resolution": "0.01"}
                ],
            }
            for i in range(METERS)
        ],
        "sources": [
            {
                "id": "e",
                "name": {"zh": "电", "en": "Electricity"},
                "line": "l",
                "instrument": "m0",
                "register": "energy",
            }
        ],
    }
    model, faults = read_plant(tree)
    assert not faults, faults
    return model


def mapping() -> BridgeMapping:
    """Where topic and JSON say meter, time and value."""
    text = f"""
    - agent: bridge
      messages:
        - topic: {TOPIC}
          time: {{at: /t, as: unix_ms, behind_s: 7776000}}
          values: [{{at: /kwh, register: energy, unit: kWh}}]
    """
    faults: list[object] = []
    found = read_bridges(Node(yaml.load(text, Loader=yaml.BaseLoader), "", faults), plant())
    assert not faults, [str(fault) for fault in faults]
    return found[0]


def messages(total: int, start_ms: int) -> list[Message]:
    """`total` messages, each meter in its turn a millisecond further on."""
    found = []
    for i in range(total):
        meter, turn = i % METERS, i // METERS
        body = b'{"t":%d,"kwh":%d.%02d}' % (start_ms + turn, 1000 + turn // 100, turn % 100)
        found.append((b"plant/m%d/energy" % meter, body))
    return found


def cpu_of(pid: int) -> float:
    """CPU seconds a process has used (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bridge_process(
    folder: Path, port: int, store: Callable[[], object], now: int, ends: Connection
) -> None:
    """Our side: a bridge, a journal and what brings the store up to it, until told to end."""
    calm_collector()
    ring = Keyring.open(folder / "keys", SITE)
    journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
    FactWriter(journal, ring).found("bench")
    quarantine = Quarantine(folder / "quarantine.db")
    projector = Projector(journal, store(), folder / "cursor")
    projector.start()

    def journalled(placed: Sequence[tuple[int, str, Envelope]]) -> None:
        for index, _, envelope in placed:
            projector.offer(index, envelope)
        projector.wake()

    bridge = Bridge(
        mapping(),
        plant(),
        journal,
        quarantine,
        SecretKey.generate("bridge"),
        BrokerAddress(port),
        lambda: CLOCK,
        journalled,
        now=lambda: now,
    )
    bridge.start()
    if not bridge.connected.wait(20):
        raise SystemExit(bridge.fault)
    ends.send("ready")
    ends.recv()
    bridge.stop()
    projector.stop()
    ends.send((bridge.tally.readings, bridge.tally.duplicates, dict(bridge.tally.refused)))
    quarantine.close()
    journal.close()


@contextmanager
def ours(folder: Path, port: int, server: Store1x, now: int) -> Iterator[int]:
    """Our bridge, running; its pid."""
    ends, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(
        target=bridge_process, args=(folder, port, server.store, now, theirs)
    )
    process.start()
    if not ends.poll(60) or ends.recv() != "ready":
        raise SystemExit("the bridge does not get ready")
    yield process.pid or 0
    ends.send("end")
    taken, twins, refused = ends.recv()
    process.join()
    if refused:
        raise SystemExit(f"the bridge refused messages: {refused}")
    print(f"    ours took {taken:,} readings, {twins} duplicates")


@contextmanager
def theirs(folder: Path, port: int, server: Store1x, strategy: str) -> Iterator[int]:
    """Telegraf, running; its pid."""
    telegraf = Telegraf(
        folder, port, TOPIC.replace("{device}", "+"), *server.credentials, strategy=strategy
    )
    try:
        yield telegraf.process.pid
    finally:
        telegraf.stop()


def run(side: str, folder: Path, server: Store1x, total: int) -> tuple[float, float]:
    """(messages a second from the first sent to the last stored, µs CPU a message)."""
    broker = Mosquitto(folder / "broker")
    sent = messages(total, START_MS)
    load = LoadGenerator(broker.port, split_over(sent, 2))
    now = START_MS * 10**6 + 10**12
    server.begin()
    side_by_side = (
        ours(folder / "ours", broker.port, server, now)
        if side == "ours"
        else theirs(folder / side, broker.port, server, side.partition("_")[2] or "disk")
    )
    with side_by_side as pid:
        cpu, started = cpu_of(pid), time.perf_counter()
        load.go()
        watch = threading.Event()
        stored = 0
        while stored < total:
            watch.wait(0.1)
            stored = server.count()
            if time.perf_counter() - started > 300:
                raise SystemExit(f"{side}: only {stored} of {total} messages were stored")
        seconds = time.perf_counter() - started
        cost = (cpu_of(pid) - cpu) / total * 1e6
    load.wait()
    broker.stop()
    print(f"  {side}: {total / seconds:,.0f} messages/s, {cost:.1f} µs CPU a message")
    return total / seconds, cost


def stages(folder: Path) -> dict[str, float]:
    """CPU seconds a message of each of our stages alone."""
    sent = messages(50_000, START_MS)
    now = START_MS * 10**6 + 10**12
    cost = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        started = time.process_time()
        work()
        cost[name] = (time.process_time() - started) / len(sent)

    packets = [wire.publish(topic, body, i % 60_000 + 1) for i, (topic, body) in enumerate(sent)]
    data = b"".join(packets)

    def receive() -> None:
        splitter = wire.Splitter()
        for start in range(0, len(data), 1 << 16):
            for head, body, _ in splitter.feed(data[start : start + (1 << 16)]):
                wire.opened(body, head)

    timed("receive", receive)
    decoder = Decoder(mapping(), plant())
    rows: list[object] = []
    timed("decode", lambda: [rows.extend(decoder.decode(t, b, now).rows) for t, b in sent])
    chain = BridgeChain(SITE, "s", SecretKey.generate("bridge"), "", None, frozenset())
    drafts: list[object] = []
    timed(
        "cut_and_sign",
        lambda: [
            drafts.append(chain.cut(rows[i : i + 1000], CLOCK)) for i in range(0, len(rows), 1000)
        ],
    )
    ring = Keyring.open(folder / "keys", SITE)
    journal = Journal(folder / "alone.db", SITE, ring.checkpoints)
    timed("commit", lambda: [journal.append(group) for group in drafts])
    journal.close()
    return cost


def main() -> None:
    """Ours and Telegraf with its buffer on disk and in memory, in turn, three times."""
    if find_mosquitto() is None:
        missing("mosquitto: run make servers")
    if not influxd_path().exists():
        missing("influxd: run make servers")
    if not telegraf_path().exists():
        missing("Telegraf: run python scripts/telegraf.py")
    total = int(float(sys.argv[1])) if len(sys.argv) > 1 else MESSAGES
    sides = ("ours", "telegraf", "telegraf_memory")
    rates: dict[str, list[float]] = {side: [] for side in sides}
    costs: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name, influxd_1x(Path(name) / "influxd") as server:
        for number in range(RUNS):
            for side in sides:
                count = min(total, FEW) if side == "telegraf" else total
                rate, cost = run(side, Path(name) / f"{side}-{number}", server, count)
                rates[side].append(rate)
                costs[side].append(cost)
        alone = stages(Path(name) / "stages")
    limit = (os.cpu_count() or 1) / sum(alone.values())
    for stage, seconds in alone.items():
        print(f"  {stage:<13} {seconds * 1e6:.2f} µs CPU a message")
    middle = {side: statistics.median(rates[side]) for side in sides}
    for side in sides:
        cost = statistics.median(costs[side])
        print(f"{side}: {middle[side]:,.0f} messages/s, {cost:.1f} µs CPU a message")
    print(f"limit {limit:,.0f} messages/s")
    record(
        "ingest_1",
        round(middle["ours"]),
        "messages/s of one reading",
        {"cores_by_cpu_cost": round(limit)},
        {side: round(middle[side]) for side in sides if side != "ours"},
        [round(rate) for rate in rates["ours"]],
    )


if __name__ == "__main__":
    main()
