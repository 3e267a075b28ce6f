"""A gateway's program at work: 50 Modbus instruments × 20 registers, read every second.

The instruments are real Modbus servers in a process of their own: fifty on lines of their own
(TCP), then behind two RTU gateways. The agent is the program a gateway runs, its site a real
broker and ingest. The figure is its share of a core; memory stands beside it.
Run with `--seconds N`, `--kind tcp|rtu`, `--record` (also where a quarter of a core is not to be
had), `--core 0.25 --memory-mb 128` to confine it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.confined import confined
from bench.results import record
from device_profiles.loading import load_profile
from edge_agent.load_curve import LoadCurve
from edge_agent.simulator import SimulatedInstrument
from edge_agent.simulator_modbus import ModbusSimulator
from ingest.broker import Mosquitto
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.subscriber import Subscriber
from mrv.envelope import Envelope
from mrv.verification.note import PublicKey

REPO = Path(__file__).resolve().parent.parent
SITE, AGENT, PROFILE = "bench", "gateway", "eastron/sdm630"
INSTRUMENTS, REGISTERS, LINES = 50, 20, 5
WARM_UP_S = 5.0
TICKS = os.sysconf("SC_CLK_TCK")
TARGET_CPU, TARGET_RSS_MB = 25.0, 80.0
"""Design §6: at most a quarter of a core and 80 MB."""


def serve(kind: str, ready: Any) -> None:
    """The instruments, until the process is ended."""

    async def run() -> None:
        origin = time.time_ns()
        made = [
            SimulatedInstrument(
                load_profile(PROFILE), LoadCurve(n, 40_000, 20_000, origin), _unit(kind, n)
            )
            for n in range(INSTRUMENTS)
        ]
        async with contextlib.AsyncExitStack() as stack:
            ports = []
            for group in _groups(kind):
                simulator = ModbusSimulator([made[n] for n in group], rtu=kind == "rtu")
                ports.append((await stack.enter_async_context(simulator)).port)
            ready.send(ports)
            await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


def _groups(kind: str) -> list[range]:
    if kind == "tcp":
        return [range(n, n + 1) for n in range(INSTRUMENTS)]
    half = INSTRUMENTS // 2
    return [range(half), range(half, INSTRUMENTS)]


def _unit(kind: str, n: int) -> str:
    return "1" if kind == "tcp" else str(n % (INSTRUMENTS // 2) + 1)


def plant_text(kind: str, ports: list[int]) -> str:
    """A plant with the instruments of all lines."""
    profile = load_profile(PROFILE)
    wanted = [r for r in profile.registers if r.name != profile.probe.register][:REGISTERS]
    rows = [f"site: {SITE}", "lines:"]
    rows += [f"  - {{id: line-{n}}}" for n in range(LINES)]
    rows += ["products: [{id: p, unit: piece}]", "instruments:"]
    sources = ["sources:"]
    for port, group in zip(ports, _groups(kind), strict=True):
        scheme = "tcp" if kind == "tcp" else "rtu-over-tcp"
        for n in group:
            rows += [
                f"  - id: m{n:02}",
                f"    agent: {AGENT}",
                f"    profile: {PROFILE}",
                f"    source: {{url: '{scheme}://127.0.0.1:{port}', unit: '{_unit(kind, n)}'}}",
                "    registers:",
            ]
            for register in wanted:
                rows.append(
                    f"      - {{id: {register.name}, kind: {register.kind}, "
                    f"unit: '{register.unit}', resolution: '{register.resolution}', "
                    f"modulus: {register.modulus}}}"
                )
            sources.append(
                f"  - {{id: e{n}, line: line-{n % LINES}, instrument: m{n:02}, "
                "register: energy_import}"
            )
    return "\n".join([*rows, *sources, ""])


class Site:
    """A broker and an ingest that only journals and gives receipts."""

    def __init__(self, folder: Path) -> None:
        self.ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, self.ring.checkpoints)
        self.quarantine = Quarantine(folder / "quarantine.db")
        self.keys: list[PublicKey] = []
        self.broker = Mosquitto(folder / "broker")
        self.lock = threading.Lock()
        self.envelopes: list[tuple[float, Envelope, int]] = []
        receiver = Receiver(self.journal, self.quarantine, self.ring.receipts, lambda _: self.keys)
        self.subscriber = Subscriber(receiver, SITE, self.broker.port, on_committed=self._took)

    def _took(self, items: Any) -> None:
        now = time.time()
        with self.lock:
            for item in items:
                envelope = item.accepted.draft.envelope
                if item.new and envelope is not None:
                    note = item.accepted.draft.note
                    self.envelopes.append((now, envelope, len(note)))

    def close(self) -> None:
        """Stop everything."""
        self.subscriber.stop()
        self.broker.stop()
        self.quarantine.close()
        self.journal.close()


def start_agent(folder: Path, site: Site, plant: Path, procs: list[Path]) -> subprocess.Popen[str]:
    """The agent's program, enrolled."""
    command = [sys.executable, "-m", "meterprint.cli", "agent", str(plant), "--name", AGENT]
    command += ["--state", str(folder / "gateway")]
    shown = subprocess.run(
        [*command, "--show-key"], cwd=REPO, capture_output=True, text=True, check=True
    )
    site.keys.append(PublicKey.parse(shown.stdout))
    receipts = site.ring.receipts.public.vkey
    where = ["--receipts", receipts, "--broker", f"127.0.0.1:{site.broker.port}"]

    def enter() -> None:
        for path in procs:
            path.write_text(str(os.getpid()))

    return subprocess.Popen([*command, *where], cwd=REPO, text=True, preexec_fn=enter)  # noqa: PLW1509


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), stat 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Largest resident set of a process so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """One run."""

    cpu: float
    """Share of a core, percent."""
    rss: float
    """MB."""
    rate: float
    """Good readings a second, by their own stamps."""
    bytes_each: float
    """Bytes of envelope a reading."""
    late: float
    """Longest time from a reading to its journal entry, s."""


def measure(kind: str, seconds: float, procs: list[Path]) -> Measured:
    """Read for a while and look at the agent's process."""
    receive, send = multiprocessing.Pipe(duplex=False)
    floor = multiprocessing.Process(target=serve, args=(kind, send), daemon=True)
    floor.start()
    ports = receive.recv()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant = folder / "plant.yaml"
        plant.write_text(plant_text(kind, ports))
        site = Site(folder)
        agent = start_agent(folder, site, plant, procs)
        try:
            wait = threading.Event()
            begun = time.monotonic()
            while not site.envelopes:
                if agent.poll() is not None or time.monotonic() - begun > 120:
                    raise SystemExit("the agent brings nothing")
                wait.wait(0.2)
            wait.wait(WARM_UP_S)
            start, used = time.time(), cpu_seconds(agent.pid)
            wait.wait(seconds)
            end, used = time.time(), cpu_seconds(agent.pid) - used
            rss = rss_mb(agent.pid)
            wait.wait(3)
            return _judge(site, start, end, used, rss)
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(timeout=60)
            site.close()
            floor.terminate()
            floor.join()


def _judge(site: Site, start: float, end: float, used: float, rss: float) -> Measured:
    good = size = every = 0
    late = 0.0
    with site.lock:
        seen = list(site.envelopes)
    for arrived, envelope, length in seen:
        times = [c.t0 / 1e9 for c in envelope.cols]
        if not times or not start <= times[0] < end:
            continue
        size += length
        late = max(late, arrived - min(times))
        for column in envelope.cols:
            every += len(column.v)
            good += sum(v is not None for v in column.v)
    if not every:
        raise SystemExit("no envelope of the measured time arrived")
    span = end - start
    return Measured(100 * used / span, rss, good / span, size / every, late)


def show(title: str, m: Measured) -> None:
    """One line."""
    print(
        f"agent {title}: {m.cpu:.1f} % of a core, {m.rss:.1f} MB, {m.rate:.0f} good readings/s, "
        f"{m.bytes_each:.1f} bytes a reading, newest {m.late:.2f} s late at the most",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", choices=("tcp", "rtu", "both"), default="both")
    parser.add_argument("--core", type=float, default=0.25)
    parser.add_argument("--memory-mb", type=int, default=128)
    parser.add_argument("--no-record", action="store_true")
    asked = parser.parse_args()
    kinds = ("tcp", "rtu") if asked.kind == "both" else (asked.kind,)
    runs, memory = [], 0.0
    for number in range(asked.runs):
        worst = 0.0
        for kind in kinds:
            found = measure(kind, asked.seconds, [])
            show(f"{kind} run {number + 1}", found)
            worst, memory = max(worst, found.cpu), max(memory, found.rss)
        runs.append(round(worst, 1))
    print(f"agent: limits {TARGET_CPU:.0f} % of a core and {TARGET_RSS_MB:.0f} MB")
    if not asked.no_record:
        limits = {"allowed_percent_of_a_core": TARGET_CPU}
        figure = round(statistics.median(runs), 1)
        unit = f"% of a core for 1000 readings/s; {memory:.0f} MB of {TARGET_RSS_MB:.0f} MB"
        record("agent", figure, unit, limits, {}, runs, faster_is_less=True)
    try:
        with confined(asked.core, asked.memory_mb << 20) as procs:
            for kind in kinds:
                title = f"{kind} in {asked.core:g} core and {asked.memory_mb} MB"
                show(title, measure(kind, asked.seconds, procs))
    except OSError as error:
        print(f"agent in {asked.core:g} core: cannot be done on this machine ({error})")


if __name__ == "__main__":
    main()
