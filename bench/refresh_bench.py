"""What a refresh of the live engine costs as an open batch grows old, and as more are open.

Old: a batch of one line with twenty counters, each read once a second, that has been open for a
minute up to a day; measured is the refresh after one more second of readings. Many: lines with a
counter and an open batch each; measured is the refresh after readings of one of them. Milliseconds
of CPU, medians. Results are checked against a computation from nothing where that is quick. The
figure is the refresh of the oldest batch, its limit that of the youngest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.history import FACTOR
from bench.results import record
from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from footprint.plant_reading import read_plant
from ingest.collector import calm_collector
from ingest.engine_shell import EngineShell
from ingest.entry import Draft, EntryKind
from meterprint.plant_file import PlantFile
from meterprint.site import Site, open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, parse
from mrv.measurement.activity import PYTHON
from mrv.verification.note import SecretKey, identity, sign, split

AGES_S = (60, 600, 3600, 6 * 3600, 24 * 3600)
OPEN = (1, 10, 100, 1000)
METERS = 20
MEASURED = 40
"""Refreshes a figure is the median of."""
S = 10**9
START = 1_780_000_000 * S
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "bench")


class Line:
    """A line's meters and the chain of its stream."""

    def __init__(self, name: str, meters: list[str], key: SecretKey, cfg: str) -> None:
        self.name, self.meters = name, meters
        self._chain = StreamChain("bench", name, key, cfg, None)
        self.second = 0

    def seconds(self, count: int) -> list[Draft]:
        """Envelopes with so many seconds of readings of every meter."""
        rows = []
        for _ in range(count):
            self.second += 1
            at = START + self.second * S
            rows += [
                RawReading(f"{meter}.e", at + place, 0, 7 * self.second)
                for place, meter in enumerate(self.meters)
            ]
        return [
            Draft(EntryKind.ENVELOPE, cut.note, cut.identity, envelope=parse(split(cut.note)[0]))
            for cut in self._chain.cut(rows, CLOCK)
        ]


def site_of(folder: Path, lines: dict[str, list[str]]) -> tuple[Site, list[Line]]:
    """A site with these lines and meters, a batch open on each line."""
    register = {"id": "e", "kind": "counter", "unit": "kWh", "resolution": "0.01"}
    every = [meter for meters in lines.values() for meter in meters]
    tree = {
        "site": "bench",
        "lines": [{"id": line} for line in lines],
        "products": [{"id": "p", "unit": "piece"}],
        "instruments": [{"id": m, "mpe_percent": "1", "registers": [register]} for m in every],
        "sources": [
            {"id": m, "line": line, "instrument": m, "register": "e", "factor": {"id": "grid"}}
            for line, meters in lines.items()
            for m in meters
        ],
    }
    site = open_site(folder, "bench")
    plant, faults = read_plant(tree)
    if faults:
        raise SystemExit(f"the plant of the bench cannot be read: {faults}")
    site.state_plant(PlantFile(folder, plant, tree, (("set", (FACTOR,)),), ()), 0)
    key = SecretKey("gateway", bytes([7]) * 32)
    site.enrol_agent(key.public)
    one = Channel(
        "", ChannelKind.COUNTER, "", "", "e", Fraction(1, 100), "kWh", Fraction(1), "",
        AssuranceTier.AGENT_SIGNED,
    )  # fmt: skip
    channels = sorted(
        (
            replace(one, name=f"{meter}.e", instrument=meter, stream=line)
            for line, meters in lines.items()
            for meter in meters
        ),
        key=lambda channel: channel.name,
    )
    text = render_table(ChannelTable("bench", key.name, tuple(channels)))
    cfg = identity(text)
    site.journal.append([Draft(EntryKind.TABLE, sign(text, key), cfg)])
    for line in lines:
        event = {"id": f"s-{line}", "line": line, "batch": f"b-{line}", "product": "p"}
        site.events.take({**event, "event": "start", "t": str(START)}, "bench")
    site.engine.warm()
    return site, [Line(line, meters, key, cfg) for line, meters in lines.items()]


def enter(site: Site, drafts: list[Draft]) -> None:
    """Enter envelopes as ingest does."""
    for (index, _), draft in zip(site.journal.append(drafts), drafts, strict=True):
        if draft.envelope is not None:
            site.engine.offer(index, draft.identity, draft.envelope)
    site.engine.catch_up()


def refresh_ms(site: Site, lines: list[Line]) -> float:
    """Median CPU time of the refresh after a second of readings of a line, ms."""
    times = []
    for turn in range(MEASURED):
        enter(site, lines[turn % len(lines)].seconds(1))
        started = time.process_time()
        changed = site.engine.refresh(eager=False)
        times.append(time.process_time() - started)
        if len(changed) != 1:
            raise SystemExit(f"one batch changes at a time, seen {changed}")
    return statistics.median(times) * 1e3


def check(site: Site) -> None:
    """The figures are those of a computation from nothing."""
    whole = EngineShell(site.journal, PYTHON)
    whole.catch_up()
    whole.refresh()
    site.refresh()
    if {n: r.digest() for n, r in whole.results.items()} != {
        n: r.digest() for n, r in site.engine.results.items()
    }:
        raise SystemExit("the live figures are not those of a computation from nothing")


def by_age(ages: tuple[int, ...]) -> list[float]:
    """One batch that grows old; ms of a refresh at each age."""
    costs = []
    with tempfile.TemporaryDirectory() as name:
        site, lines = site_of(Path(name), {"l": [f"m{n:02}" for n in range(METERS)]})
        for age in ages:
            while lines[0].second < age - MEASURED:
                enter(site, lines[0].seconds(min(50, age - MEASURED - lines[0].second)))
            site.engine.refresh(eager=False)
            cost = refresh_ms(site, lines)
            costs.append(cost)
            print(
                f"  open for {age:>6} s, {site.engine.reading_count:>9,} readings of {METERS} "
                f"meters: {cost:.2f} ms",
                flush=True,
            )
        if ages[-1] <= 3600:
            check(site)
        site.close()
    return costs


def by_number(numbers: tuple[int, ...]) -> list[float]:
    """More and more open batches, one of which changes; ms of a refresh with each number."""
    costs = []
    for number in numbers:
        with tempfile.TemporaryDirectory() as name:
            site, lines = site_of(Path(name), {f"l{n:04}": [f"m{n:04}"] for n in range(number)})
            for line in lines:
                enter(site, line.seconds(10))
            site.engine.refresh()
            cost = refresh_ms(site, lines)
            costs.append(cost)
            print(f"  {number:>5} open batches: {cost:.2f} ms", flush=True)
            if number <= 100:
                check(site)
            site.close()
    return costs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="up to an hour and a hundred batches")
    short = parser.parse_args().short
    calm_collector()  # as every server of ours does
    print("refresh of an open batch by its age, ms of CPU:")
    ages = AGES_S[:3] if short else AGES_S
    old = by_age(ages)
    print("refresh after readings of one of several open batches, ms of CPU:")
    numbers = OPEN[:3] if short else OPEN
    many = by_number(numbers)
    record(
        "refresh",
        round(old[-1], 2),
        f"ms CPU, batch open for {ages[-1]} s; one of {numbers[-1]} open batches {many[-1]:.2f}",
        {f"open_{ages[0]}_s_ms": round(old[0], 2), "one_open_batch_ms": round(many[0], 2)},
        {},
        [round(cost, 2) for cost in old],
        faster_is_less=True,
    )


if __name__ == "__main__":
    main()
