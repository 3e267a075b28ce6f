"""Signed envelopes → MQTT → verified → journal → InfluxDB, all on the same cores, lag held.

Two questions in one run, for influxd 1.8.10 and 2.9.1. How fast: envelopes as fast as the broker
takes them, until every reading can be counted in InfluxDB. Does it hold: an open loop at a fixed
rate; the journal's entries that InfluxDB has not taken yet are sampled and must not grow.
Limits of the same run: cores / Σ CPU cost of the parts (load generator and broker included), and
influxd's own bulk rate with ready-made lines while nothing else runs.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.ingest_bench import CLOCK, SITE, common_stages, topic
from bench.load_generator import LoadGenerator
from bench.results import missing, record
from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.broker import Mosquitto
from ingest.collector import calm_collector
from ingest.influx_connection import InfluxConnection
from ingest.influx_setup import prepare
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.line_protocol import head, lines
from ingest.projector import GATHER_S, Projector
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.series import chunks_of
from ingest.series_influx import BATCH, InfluxStore
from ingest.subscriber import Subscriber
from mrv.envelope import parse
from mrv.verification.note import SecretKey, split
from scripts.influx_servers import VERSIONS, Influxd, influx_server
from scripts.influxd_builds import influxd_path

EACH = 100
"""Readings of an envelope, ten channels."""
AGENTS = 4
"""Agents, one stream each."""
READINGS = int(os.environ.get("METERPRINT_BENCH_READINGS", "1200000"))
"""Readings of a run."""
HELD = 60_000
"""Readings a second of the open loop: what has to be held (design §6)."""
GROWTH = 0.05
"""Share of that rate by which the lag may seem to grow, as samples scatter."""
TICK = os.sysconf("SC_CLK_TCK")


def notes(key: SecretKey) -> list[bytes]:
    """Ready-made envelopes of one agent: ten instruments read once a second."""
    chain = StreamChain(SITE, "s", key, "", None)
    made = []
    for start in range(0, READINGS // AGENTS, EACH):
        rows = [
            RawReading(f"m{i % 10}.energy", (start + i) // 10 * 10**9, 0, 1000 + 7 * (start + i))
            for i in range(EACH)
        ]
        made += [out.note for out in chain.cut(rows, CLOCK)]
    return made


def streams(made: dict[str, list[bytes]]) -> list[list[tuple[bytes, bytes]]]:
    """Messages of all agents in turn, for one process of the load generator."""
    return [
        [
            (topic(agent), note)
            for row in zip(*made.values(), strict=True)
            for agent, note in zip(made, row, strict=True)
        ]
    ]


def cpu_of(process: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    rate: float
    """Readings a second, from the first message to the last reading in InfluxDB."""
    lags: list[tuple[float, int]]
    """(second, journal entries InfluxDB had not taken) while messages came in."""
    cpu: dict[str, float]
    """CPU seconds by part."""

    @property
    def slope(self) -> float:
        """Growth of the lag, readings a second, by least squares over the middle of the run."""
        rows = self.lags[len(self.lags) // 10 :]
        line = statistics.linear_regression([t for t, _ in rows], [lag for _, lag in rows])
        return line.slope * EACH


class WholePath:
    """The whole path, up and running."""

    def __init__(
        self,
        folder: Path,
        made: dict[str, list[bytes]],
        keys: dict[str, SecretKey],
        server: Influxd,
        rate: float,
    ) -> None:
        ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
        self.quarantine = Quarantine(folder / "quarantine.db")
        enrolled = {agent: (key.public,) for agent, key in keys.items()}
        receiver = Receiver(self.journal, self.quarantine, ring.receipts, enrolled.__getitem__)
        receiver.signatures.warm()
        self.address = server.address(folder.name)
        self.connection = InfluxConnection(self.address, timeout_s=300)
        prepare(self.connection)
        self.store = InfluxStore.at(self.address, SITE)
        self.projector = Projector(
            self.journal, self.store, folder / "cursor.json", lanes=True, gather_s=GATHER_S
        )
        self.broker = Mosquitto(folder / "broker")
        self.load = LoadGenerator(self.broker.port, streams(made), rate / EACH)
        self.projector.start()
        self.subscriber = Subscriber(
            receiver,
            SITE,
            self.broker.port,
            on_committed=self._committed,
            agents=lambda: list(keys),
        )
        self.subscriber.connected.wait(10)

    def _committed(self, items: object) -> None:
        for item in items:
            if item.new and item.accepted.draft.envelope is not None:
                self.projector.offer(item.index, item.accepted.draft.envelope)
        self.projector.wake()

    def count(self) -> int:
        """Readings in InfluxDB."""
        (found,) = self.connection.query('SELECT count("value") FROM "reading"')
        return int(found[0]["values"][0][1]) if found else 0

    def close(self) -> None:
        """End everything."""
        self.subscriber.stop()
        self.projector.stop()
        self.broker.stop()
        self.store.close()
        self.connection.close()
        self.journal.close()
        self.quarantine.close()


def run(
    folder: Path,
    made: dict[str, list[bytes]],
    keys: dict[str, SecretKey],
    server: Influxd,
    rate: float = 0.0,
) -> Outcome:
    """Send everything and wait until it is in InfluxDB."""
    path = WholePath(folder, made, keys, server, rate)
    total = sum(len(messages) for messages in made.values())
    processes = {"influxd": server.process.pid, "broker": path.broker.pid}
    before = {name: cpu_of(pid) for name, pid in processes.items()}
    ours, started = time.process_time(), time.perf_counter()
    path.load.go()
    lags, ticks = [], threading.Event()
    while path.projector.cursor < total:
        ticks.wait(0.05)
        second = time.perf_counter() - started
        if path.journal.size < total:
            lags.append((second, path.projector.lag))
        if second > 600:
            raise SystemExit(f"only {path.projector.cursor} of {total} envelopes are in InfluxDB")
    seconds = time.perf_counter() - started
    cpu = {name: cpu_of(pid) - before[name] for name, pid in processes.items()}
    cpu["ingest and projector"] = time.process_time() - ours
    cpu["load generator"] = path.load.wait().cpu
    counted = path.count()
    if counted != total * EACH:
        raise SystemExit(f"{counted} of {total * EACH} readings can be counted in InfluxDB")
    path.close()
    return Outcome(total * EACH / seconds, lags, cpu)


def stages(folder: Path, messages: list[bytes], key: SecretKey) -> dict[str, float]:
    """CPU seconds a reading of each stage in our process alone."""
    made = common_stages(folder, messages, key, EACH)
    envelopes = [draft.envelope for draft in made.drafts if draft.envelope is not None]
    heads: dict[object, str] = {}
    made.timed("lines", lambda: [ready_lines(envelope, heads) for envelope in envelopes])
    return made.cost


def ready_lines(envelope: object, heads: dict[object, str]) -> list[str]:
    """Lines of an envelope; heads are kept as the store keeps them."""
    made = []
    for chunk in chunks_of(envelope):
        key = chunk.key
        if key not in heads:
            tags = {"agent": key.agent, "channel": key.channel, "site": SITE, "stream": key.stream}
            heads[key] = head("reading", tags)
        made += lines(heads[key], chunk.series)
    return made


@dataclass(frozen=True, slots=True)
class Bulk:
    """InfluxDB alone, with ready-made lines."""

    rate: float
    """Lines a second."""
    server_cpu: float
    """CPU seconds of influxd a line."""
    client_cpu: float
    """CPU seconds of the writing process a line."""


def bulk(made: dict[str, list[bytes]], server: Influxd) -> Bulk:
    """Write all readings as ready-made lines while nothing else runs."""
    connection = InfluxConnection(server.address("bulk"), timeout_s=300)
    prepare(connection)
    heads: dict[object, str] = {}
    every = [
        line
        for row in zip(*made.values(), strict=True)
        for note in row
        for line in ready_lines(parse(split(note)[0]), heads)
    ]
    bodies = ["\n".join(every[i : i + BATCH]).encode() for i in range(0, len(every), BATCH)]
    before, ours = cpu_of(server.process.pid), time.process_time()
    started = time.perf_counter()
    for body in bodies:
        connection.write(body)
    seconds = time.perf_counter() - started
    used, ours = cpu_of(server.process.pid) - before, time.process_time() - ours
    connection.close()
    return Bulk(len(every) / seconds, used / len(every), ours / len(every))


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured with one influxd."""

    figure: float
    """Median of the runs, readings a second."""
    limits: dict[str, float]
    """Limits of the same run, readings a second."""
    runs: list[float]
    """Each run."""


def measure(folder: Path, version: str, repeats: int) -> Figures:
    """Measure and print with one influxd. Raises SystemExit where the rate is not held."""
    keys = {f"a{i}": SecretKey.generate(f"a{i}") for i in range(AGENTS)}
    made = {agent: notes(key) for agent, key in keys.items()}
    with influx_server(version, folder / "influxd") as server:
        fast = [run(folder / f"fast{i}", made, keys, server) for i in range(repeats)]
        held = run(folder / "held", made, keys, server, HELD)
        alone = bulk(made, server)
    cost = stages(folder / "stages", made["a0"], keys["a0"])
    cost["write"], cost["influxd"] = alone.client_cpu, alone.server_cpu
    readings = sum(map(len, made.values())) * EACH
    for part in ("broker", "load generator"):
        cost[part] = statistics.median(one.cpu[part] for one in fast) / readings
    figure = statistics.median(one.rate for one in fast)
    cores = os.cpu_count() or 1
    limits = {
        "cores_by_cpu_cost": round(cores / sum(cost.values())),
        "influxd_bulk_write": round(alone.rate),
    }
    print(f"influxd {version}: {figure:,.0f} readings/s to the last one in InfluxDB")
    for stage, seconds in cost.items():
        print(f"  {stage:<22} {seconds * 1e6:.3f} µs CPU a reading")
    for part in ("influxd", "ingest and projector"):
        used = statistics.median(one.cpu[part] for one in fast) / readings
        print(f"  in the run: {part:<22} {used * 1e6:.3f} µs CPU a reading")
    for limit, rate in limits.items():
        print(f"  limit {limit}: {rate:,} readings/s; ratio {figure / rate:.2f}")
    print(
        f"  open loop at {HELD:,}/s for {held.lags[-1][0]:.0f} s: lag grows by "
        f"{held.slope:+,.0f} readings/s, {held.lags[-1][1] * EACH:,} readings at its end, "
        f"at most {max(lag for _, lag in held.lags) * EACH:,}"
    )
    if held.slope > GROWTH * HELD:
        raise SystemExit(f"influxd {version}: {HELD:,} readings/s are not held, the lag grows")
    return Figures(figure, limits, [round(one.rate) for one in fast])


def main() -> None:
    """Both lines of InfluxDB; the slower one is entered."""
    calm_collector()
    repeats = int(os.environ.get("METERPRINT_BENCH_RUNS", "3"))
    found = []
    with tempfile.TemporaryDirectory() as name:
        for version in VERSIONS:
            if not influxd_path(version).exists():
                missing(f"influxd {version}: run `make servers`")
            found.append(measure(Path(name) / version, version, repeats))
    slower = min(found, key=lambda one: one.figure)
    record("ingest_influx", round(slower.figure), "readings/s", slower.limits, {}, slower.runs)


if __name__ == "__main__":
    main()
