"""The journal as it grows: bytes a reading, and what opening, checkpoints and proofs cost.

`build_journal` makes a journal of any size fast: real signed envelopes of many streams, jittered
times, counters and gauges, sealed as a running site seals it. `python bench/journal_growth.py
--entries 1000000` measures one of 10⁸ readings.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge_agent.outbox import Outbox, Outgoing
from ingest.entry import Draft, EntryKind
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.rotation import DEFAULT_POLICY, rotate
from mrv.envelope import Clock, ClockState, Envelope, Head
from mrv.verification.note import SecretKey, identity, sign

SITE = "bench"
S = 10**9
START = 1_780_000_000 * S
BOOT = "3f1c2d9a-7b3e-4c1e-9f55-0a1b2c3d4e5f"
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "ntp")
REGISTERS = ("active_energy_import", "reactive_energy_import", "active_power", "voltage_l1",
             "current_l1")  # fmt: skip
GROUP = 200
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Cut:
    """An envelope as an outbox sends it and as ingest enters it."""

    outgoing: Outgoing
    draft: Draft


class StreamMaker:
    """Envelopes of one stream: 1 s steps with 1 ms jitter, two counters and three gauges."""

    def __init__(self, number: int, each: int, seed: int, site: str = SITE) -> None:
        self.key = SecretKey(f"gateway-{number % 10}", bytes([number % 10 + 1]) * 32)
        self.stream = f"line-{number}"
        self.epoch = f"{random.Random(seed * 1000 + number).getrandbits(64):016x}"
        self.rows = max(1, each // len(REGISTERS))
        self.channels = REGISTERS[: max(1, each // self.rows)]
        self._site = site
        self._rng = np.random.default_rng(seed * 1000 + number)
        self._shown = {name: int(self._rng.integers(10**6, 10**9)) for name in self.channels}
        self._seq, self._prev, self._t = 0, "", START
        self._numbers = f"meter-{number}"

    def cut(self) -> Cut:
        """The next envelope, signed."""
        rng, rows = self._rng, self.rows
        columns = []
        for place, name in enumerate(self.channels):
            jitter = rng.normal(0, 1e6, rows).astype(np.int64)
            times = self._t + np.arange(rows) * S + place * 3_000_000 + jitter
            if place < 2:
                values = self._shown[name] + np.cumsum(rng.integers(4, 21, rows))
                self._shown[name] = int(values[-1])
            else:
                values = 50_000 + rng.normal(0, 600, rows).astype(np.int64)
            steps = [0, *np.diff(times).tolist()]
            columns.append(
                f'{{"ch":"{self._numbers}.{name}","t0":"{times[0]}","dt":{_encode(steps).decode()},'
                f'"v":{_encode(values.tolist()).decode()},"q":{_encode([""] * rows).decode()}}}'
            )
        self._t += rows * S
        t = self._t + int(rng.integers(10**7))
        after = '"after":null,' if self._seq == 0 else ""
        text = (
            f'{{"v":1,"site":"{self._site}","agent":"{self.key.name}","stream":"{self.stream}",'
            f'"epoch":"{self.epoch}","seq":{self._seq},"prev":"{self._prev}",{after}'
            f'"t":"{t}","mono":"{t - START + 10**14}","boot":"{BOOT}",'
            '"clk":{"state":"S","error_ms":5,"source":"ntp"},"cfg":"",'
            f'"cols":[{",".join(columns)}],"ev":[]}}\n'
        ).encode()
        name, note = identity(text), sign(text, self.key)
        # The journal takes the place from the parsed header alone; readings are not repeated here.
        place = Envelope(self._site, self.key.name, self.stream, self.epoch, self._seq, self._prev,
                         t, 0, BOOT, CLOCK, "", ())  # fmt: skip
        made = Cut(
            Outgoing(self.stream, self.epoch, self._seq, name, note, t),
            Draft(EntryKind.ENVELOPE, note, name, envelope=place),
        )
        self._prev = name
        self._seq += 1
        return made

    @property
    def head(self) -> Head:
        """The last envelope that was cut."""
        return Head(self.epoch, self._seq - 1, self._prev)


def makers(streams: int, each: int, seed: int = 1, site: str = SITE) -> list[StreamMaker]:
    """So many streams."""
    return [StreamMaker(number, each, seed, site) for number in range(streams)]


def groups(sources: list[StreamMaker], entries: int) -> Iterator[list[Draft]]:
    """`entries` envelopes, the streams taken in turn, in groups as ingest commits them."""
    made = 0
    while made < entries:
        some = min(GROUP, entries - made)
        yield [sources[(made + i) % len(sources)].cut().draft for i in range(some)]
        made += some


def build_journal(
    folder: Path,
    entries: int,
    each: int = 100,
    streams: int = 50,
    keep: int | None = DEFAULT_POLICY.entries,
    site: str = SITE,
    progress: Callable[[int], None] = lambda _: None,
) -> float:
    """Grow the journal in `folder` by so many envelopes; µs of commit each.

    `keep` newest entries stay in the database, None = all. A second call goes on with new epochs.
    """
    ring = Keyring.open(folder / "keys", site)
    journal = Journal(folder / "journal.db", site, ring.checkpoints)
    FactWriter(journal, ring).found("bench")
    seconds = 0.0
    for drafts in groups(makers(streams, each, 1 + journal.size, site), entries):
        started = time.perf_counter()
        journal.append(drafts)
        seconds += time.perf_counter() - started
        if keep is not None and journal.size - journal.hot_start > keep + 16_384:
            rotate(journal, keep)
            progress(journal.size)
    if keep is not None:
        rotate(journal, keep)
    journal.close()
    return seconds / entries * 1e6


def timed(work: Callable[[], object], times: int = 3) -> float:
    """Median milliseconds of a piece of work."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e3


def measure(folder: Path, site: str = SITE) -> dict[str, float]:
    """Milliseconds of what a site does with its journal, and bytes of its parts."""
    ring = Keyring.open(folder / "keys", site)
    path = folder / "journal.db"
    choice = random.Random(7)
    figures = {}

    def opened() -> Journal:
        return Journal(path, site, ring.checkpoints)

    figures["open_ms"] = timed(lambda: opened().close())
    journal = opened()
    size = journal.size
    figures["checkpoint_ms"] = timed(journal.checkpoint)
    figures["first_proof_ms"] = timed(lambda: opened().tree().inclusion_proof(size // 2, size), 1)
    start = choice.randrange(size // 2)
    tree = journal.tree()
    figures["proof_of_1000_neighbours_ms"] = timed(
        lambda: [tree.inclusion_proof(i, size) for i in range(start, start + 1000)], 1
    )
    entries = [journal.entry(choice.randrange(5, size)) for _ in range(100)]
    figures["one_random_entry_ms"] = (
        timed(lambda: [journal.entry(choice.randrange(size)) for _ in range(50)], 1) / 50
    )
    names = [entry.identity for entry in entries]
    figures["first_index_of_ms"] = timed(lambda: opened().index_of(names[0]), 1)
    journal.index_of(names[0])
    figures["index_of_ms"] = timed(lambda: [journal.index_of(name) for name in names], 1) / 100
    figures["unknown_identity_ms"] = timed(lambda: journal.index_of("ab" * 32), 1)
    fresh = [source.cut().draft for source in makers(50, 100, 99, site) for _ in range(4)]
    figures["commit_of_200_ms"] = timed(lambda: journal.append(fresh), 1)
    again = fresh
    figures["200_duplicates_ms"] = timed(lambda: journal.append(again), 3)
    figures["cold_bytes"] = sum(part.size for part in journal.parts())
    figures["database_bytes"] = path.stat().st_size
    figures["database_bytes_in_use"] = journal.bytes_in_use()
    figures["entries"] = size
    journal.close()
    return figures


def outbox_bytes(each: int, count: int = 5000) -> float:
    """Bytes a reading in an outbox that nobody empties."""
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "outbox.db")
        sources = makers(4, each)
        for start in range(0, count, 50):
            outbox.commit([sources[(start + i) % 4].cut().outgoing for i in range(50)])
        outbox.close()
        return (Path(folder) / "outbox.db").stat().st_size / count / each


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=100, help="readings an envelope")
    parser.add_argument("--folder", type=Path, help="where to keep the journal")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        began = time.perf_counter()
        cost = build_journal(folder, options.entries, options.each)
        print(f"{options.entries} entries in {time.perf_counter() - began:.0f} s; "
              f"commit {cost:.1f} µs an envelope")  # fmt: skip
        figures = measure(folder)
        readings = figures["entries"] * options.each
        for name, value in figures.items():
            print(f"  {name:<30} {value:,.2f}")
        kept = (figures["cold_bytes"] + figures["database_bytes"]) / readings
        print(f"journal, all files: {kept:.2f} bytes a reading")
    print(f"outbox: {outbox_bytes(options.each):.1f} bytes a reading")


if __name__ == "__main__":
    main()
