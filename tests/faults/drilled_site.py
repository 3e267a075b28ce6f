"""The site that is drilled: its plant and batches, and what must come out whatever befalls it.

The oracle is the counter: every reading's value and time tell its number, and every envelope's
signature covers them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from footprint.plant_reading import read_plant
from ingest.entry import EntryKind
from ingest.journal import Journal
from ingest.keyring import load_or_make_key
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.column import column_times
from mrv.envelope import parse
from mrv.verification.note import split
from tests.faults.processes import AGENT, SITE, STEP_NS, reading

BATCHES = 10
POOL_WINDOW_NS = 60 * 10**9
PLANT = {
    "site": SITE,
    "policy": {"pool_window_s": "60", "gap_s": "60", "changeover_s": "30"},
    "lines": [{"id": "l"}],
    "products": [{"id": "p", "unit": "piece"}],
    "instruments": [
        {
            "id": "m",
            "registers": [{"id": "energy", "kind": "counter", "unit": "kWh", "resolution": "0.01"}],
        }
    ],
    "sources": [
        {"id": "e", "line": "l", "instrument": "m", "register": "energy", "factor": {"id": "f"}}
    ],
}
FACTOR = {
    "id": "f",
    "name": "f",
    "category": "x",
    "region": "",
    "valid_from": "",
    "valid_to": "",
    "value": "0.5",
    "unit": "kgCO2e/kWh",
    "gas_or_co2e": "CO2e",
    "gwp_basis": "",
    "uncertainty_pct": "5",
    "source": "",
    "source_year": "",
    "notes": "",
}


def prepare(state: Path, total: int) -> None:
    """A site with a plant, an enrolled agent, and ten batches, their pools within the readings."""
    plant, faults = read_plant(PLANT)
    assert faults == []
    site = open_site(state, SITE)
    site.state_plant(PlantFile(state, plant, PLANT, (("x", (FACTOR,)),), ()), 0)
    key = load_or_make_key(state / "agents" / AGENT / "agent.key", AGENT)
    site.enrol_agent(key.public)
    span = (total * STEP_NS - POOL_WINDOW_NS) // BATCHES
    for number in range(BATCHES):
        base = {"line": "l", "batch": f"b{number}"}
        begin, end = number * span + span // 10, number * span + span * 9 // 10
        event = {**base, "id": f"s{number}", "event": "start", "product": "p", "t": str(begin)}
        site.events.take(event, "test")
        event = {**base, "id": f"e{number}", "event": "end", "good": "7", "t": str(end)}
        site.events.take(event, "test")
    site.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has left in the journal."""

    seen: Counter[tuple[str, int, int]]
    """Readings (channel, time ns, value), with how often."""
    digests: dict[str, str]
    """Digest of each batch."""
    total: Fraction
    """Footprint of all batches together, kgCO2e."""


def readings_in(journal: Journal) -> Counter[tuple[str, int, int]]:
    """Readings (channel, time ns, value) of all envelopes, with how often each is there."""
    seen: Counter[tuple[str, int, int]] = Counter()
    for entry in journal.entries():
        if entry.kind is EntryKind.ENVELOPE:
            for column in parse(split(entry.note)[0]).cols:
                for t, v in zip(column_times(column), column.v, strict=True):
                    seen[column.ch, t, v or 0] += 1
    return seen


def outcome(state: Path) -> Outcome:
    """Readings and digests of a site; all its batches must be final."""
    site = open_site(state)
    seen = readings_in(site.journal)
    site.refresh()
    digests = {name: result.digest() for name, result in site.engine.results.items()}
    states = {result.state.value for result in site.engine.results.values()}
    total = sum((r.footprint for r in site.engine.results.values()), Fraction(0))
    assert states <= {"final", "final_estimated"}
    assert site.journal.verify() == []
    site.close()
    return Outcome(seen, digests, total)


def expected(total: int) -> Counter[tuple[str, int, int]]:
    """What the agent read."""
    return Counter((r.channel, r.t, r.v or 0) for r in map(reading, range(total)))
