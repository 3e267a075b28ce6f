"""Verify a bundle of 10³ and of 10⁵ readings in a fresh process, offline.

Limit of the same run: what no verifier can spare, the SHA-256 of every byte and the verification of
every signature, alone.
"""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.results import record
from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from footprint.plant_reading import read_plant
from ingest.bundler import make_bundle
from ingest.entry import Draft, EntryKind
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, parse
from mrv.strict_json import Record, loads
from mrv.verification.container import read
from mrv.verification.note import PublicKey, SecretKey, identity, open_note, sign, split

SITE = "bench"
EACH = 100
STEP_NS = 10**9
RUNS = 5
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "bench")
FACTOR = {
    "id": "bench.electricity",
    "name": "Electricity",
    "category": "electricity_cfp",
    "region": "CN",
    "valid_from": "",
    "valid_to": "",
    "value": "0.5777",
    "unit": "kgCO2e/kWh",
    "gas_or_co2e": "CO2e",
    "gwp_basis": "AR6",
    "uncertainty_pct": "10",
    "source": "bench",
    "source_year": "2025",
    "notes": "",
}
REGISTER = {"id": "energy", "unit": "kWh", "resolution": "0.01", "max_per_hour": "1000"}
PLANT = {
    "site": SITE,
    "lines": [{"id": "l"}],
    "products": [{"id": "p", "unit": "piece"}],
    "instruments": [{"id": "m", "registers": [REGISTER]}],
    "sources": [
        {
            "id": "electricity",
            "line": "l",
            "instrument": "m",
            "register": "energy",
            "factor": {"id": FACTOR["id"]},
        }
    ],
}


def bundle_of(folder: Path, total: int, window_s: int) -> tuple[bytes, str]:
    """A bundle whose batch rests on `total` readings of a counter, and the key to trust.

    The batch lasts whole pool windows, as many as leave two envelopes after its end.
    """
    plant = {**PLANT, "policy": {"pool_window_s": str(window_s)}}
    model, _ = read_plant(plant)
    site = open_site(folder, SITE)
    site.state_plant(PlantFile(folder, model, plant, (("f.csv", (FACTOR,)),), ()), 0)
    key = SecretKey.generate("a")
    site.enrol_agent(key.public)
    one = Fraction(1)
    row = Channel(
        *("m.energy", ChannelKind.COUNTER, "m", "m", "energy"),
        *(Fraction(1, 100), "kWh", one, "", AssuranceTier.AGENT_SIGNED),
        stream="s",
    )
    text = render_table(ChannelTable(SITE, "a", (row,)))
    drafts = [Draft(EntryKind.TABLE, sign(text, key), identity(text))]
    chain = StreamChain(SITE, "s", key, identity(text), None)
    for start in range(0, total, EACH):
        rows = [
            RawReading("m.energy", (start + i) * STEP_NS, 0, 7 * (start + i) + i % 3)
            for i in range(EACH)
        ]
        for out in chain.cut(rows, CLOCK):
            envelope = parse(split(out.note)[0])
            drafts.append(Draft(EntryKind.ENVELOPE, out.note, out.identity, envelope=envelope))
    site.journal.append(drafts)
    base = {"line": "l", "batch": "b"}
    end = (total - 2 * EACH) // window_s * window_s * STEP_NS
    site.events.take({**base, "id": "1", "event": "start", "product": "p", "t": "0"}, "bench")
    site.events.take({**base, "id": "2", "event": "end", "good": "9", "t": str(end)}, "bench")
    site.refresh()
    data = make_bundle(site.journal, site.keyring, site.engine.engine, "b")
    trust = site.keyring.root.public.vkey
    site.close()
    return data, trust


def fresh(file: Path, trust: str) -> float:
    """Seconds a new process takes, from its start to its verdict."""
    command = [sys.executable, "-m", "footprint.verify", str(file), "--trust", trust]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds


def limit(data: bytes) -> float:
    """Seconds for the hash of each file and every signature in the bundle, nothing else."""
    files = read(data)
    notes = []
    for name, content in files.items():
        if name.startswith(("envelopes/", "tables/")):
            notes.append(
                Record(loads(content.rstrip())).text("note", limit=10**6, lines=True).encode()
            )
        elif name.endswith(".headers.jsonl"):
            notes += [loads(line).encode() for line in content.splitlines()]
        elif name.endswith(".note"):
            notes.append(content)
    keys = {}
    for content in files.values():
        if b'"vkey' in content.replace(b"\\", b""):
            body = loads(loads(content.rstrip())["body"].encode())["body"]
            found = PublicKey.parse(body["vkey"])
            keys[found.name] = found
    started = time.perf_counter()
    for content in files.values():
        hashlib.sha256(content).digest()
    for note in notes:
        open_note(note, keys.values())
    return time.perf_counter() - started


def measure(name: str, total: int, window_s: int) -> None:
    """Print the figure for so many readings beside its limit; enter both."""
    with tempfile.TemporaryDirectory() as folder:
        data, trust = bundle_of(Path(folder) / "state", total, window_s)
        file = Path(folder) / "x.zip"
        file.write_bytes(data)
        fresh(file, trust)
        runs = [fresh(file, trust) for _ in range(RUNS)]
        least = statistics.median(limit(data) for _ in range(RUNS))
    figure = statistics.median(runs)
    print(
        f"{name}, {total:,} readings, {len(data):,} bytes: {figure:.3f} s; "
        f"hashes and signatures alone {least:.3f} s; ratio {figure / least:.1f}"
    )
    record(
        name,
        round(figure, 4),
        f"s for {total} readings in a fresh process",
        {"hashes_and_signatures_s": round(least, 4)},
        {},
        [round(x, 4) for x in runs],
        faster_is_less=True,
    )


def main() -> None:
    """10³ and 10⁵ readings."""
    measure("verify_1k", 1_000, 100)
    measure("verify", 100_000, 3600)


if __name__ == "__main__":
    main()
