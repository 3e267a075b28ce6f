"""A site with a history of any length, made fast: real signed envelopes, facts, segments, results.

Half the meters are the lines' own, half are shared by two lines; a batch a day on every line (or
another period). An
envelope is the same whatever the size of the site: one stream's hundred readings, fifty of each of
its two meters, one a second. A site of 10,000 instruments is 5,000 such streams of 200 agents with
fifty instruments each, so that an envelope of one stream is followed by 4,999 of others; groups
that are committed have 200 envelopes, whatever streams those are of. An envelope is read from its
text, as ingest reads it: one put together out of numbers drawn ahead would lie side by side in
memory where there are few streams, and in a site nothing does. What is measured went the way
everything goes from the verified envelope on: journal, engine, segments that are merged.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np

from footprint.plant_reading import read_plant
from ingest.entry import Draft, EntryKind
from ingest.envelope_reading import read_envelope
from ingest.rotation import DEFAULT_POLICY, PART, rotate
from meterprint.plant_file import PlantFile
from meterprint.site import Site, open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.verification.note import SecretKey, identity, sign

NAME = "bench"
S = 10**9
START = 1_780_000_000 // 86_400 * 86_400 * S
STEP_S = 1
ROWS = 50
"""Readings of a channel in one envelope; each has two channels."""
DAY_S = 86_400
GROUP = 200
"""Envelopes ingest commits together."""
KEPT = DEFAULT_POLICY.entries + PART
"""Entries of the journal in its database when the oldest are put into a cold file."""
AGENT_LINES = 25
"""Lines of an agent: fifty instruments on a gateway."""
FACTOR = {
    "id": "grid",
    "name": "grid",
    "category": "electricity_cfp",
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
_encode = msgspec.json.Encoder().encode
QUALITY = _encode([""] * ROWS).decode()
AHEAD = 320
"""Envelopes drawn ahead for all streams together."""


def plant_tree(lines: int) -> dict[str, object]:
    """A plant of so many lines, two meters for each."""
    register = {"id": "e", "kind": "counter", "unit": "kWh", "resolution": "0.01"}
    meters = [f"{kind}{n}" for n in range(lines) for kind in ("own", "share")]
    sources: list[dict[str, object]] = []
    for n in range(lines):
        ask = {"register": "e", "factor": {"id": "grid"}}
        sources.append({"id": f"own{n}", "line": f"l{n}", "instrument": f"own{n}", **ask})
        pair = [f"l{n}", f"l{n ^ 1}"] if n ^ 1 < lines else [f"l{n}"]
        sources.append({"id": f"share{n}", "lines": pair, "instrument": f"share{n}", **ask})
    return {
        "site": NAME,
        "policy": {"pool_window_s": "3600", "changeover_s": "3600", "gap_s": "900"},
        "lines": [{"id": f"l{n}"} for n in range(lines)],
        "products": [{"id": "p", "unit": "piece"}],
        "instruments": [
            {"id": m, "mpe_percent": "1", "registers": [{**register, "max_per_hour": "10000"}]}
            for m in meters
        ],
        "sources": sources,
    }


class Stream:
    """The envelopes of one line: its own meter and the shared one."""

    def __init__(self, number: int, key: SecretKey, cfg: str, ahead: int) -> None:
        self.number, self._key, self._cfg = number, key, cfg
        self._rng = np.random.default_rng(number)
        self._epoch = f"{random.Random(number).getrandbits(64):016x}"
        self._shown = self._rng.integers(10**6, 10**9, 2)
        self._seq, self._prev = 0, ""
        self._ahead = ahead
        self._drawn: list[tuple[list[int], list[list[int]], list[list[int]]]] = []
        self.t = START

    def _draw(self) -> None:
        """Times and values of the next few envelopes: 1 s steps with 1 ms of jitter."""
        shape = (2, self._ahead * ROWS)
        jitter = self._rng.integers(-1_000_000, 1_000_000, shape)
        times = self.t + (np.arange(shape[1]) + 1) * STEP_S * S + jitter
        values = self._shown[:, None] + np.cumsum(self._rng.integers(0, 25, shape), axis=1)
        self._shown = values[:, -1]
        times, values = (x.reshape(2, self._ahead, ROWS) for x in (times, values))
        steps = np.diff(times, axis=2, prepend=times[:, :, :1])
        self._drawn = [
            (times[:, n, 0].tolist(), steps[:, n].tolist(), values[:, n].tolist())
            for n in reversed(range(self._ahead))
        ]

    def cut(self) -> Draft:
        """The next envelope of a hundred readings, signed."""
        if not self._drawn:
            self._draw()
        texts = [
            f'{{"ch":"{kind}{self.number}.e","t0":"{t0}","dt":{_encode(steps).decode()},'
            f'"v":{_encode(shown).decode()},"q":{QUALITY}}}'
            for kind, t0, steps, shown in zip(("own", "share"), *self._drawn.pop(), strict=True)
        ]
        self.t += ROWS * STEP_S * S
        after = '"after":null,' if self._seq == 0 else ""
        agent, stream = self._key.name, f"line-{self.number}"
        text = (
            f'{{"v":1,"site":"{NAME}","agent":"{agent}","stream":"{stream}",'
            f'"epoch":"{self._epoch}","seq":{self._seq},"prev":"{self._prev}",{after}'
            f'"t":"{self.t}","mono":"{self.t - START}","boot":"b",'
            f'"clk":{{"state":"S","error_ms":5,"source":"ntp"}},"cfg":"{self._cfg}",'
            f'"cols":[{",".join(texts)}],"ev":[]}}\n'
        ).encode()
        name = identity(text)
        self._prev, self._seq = name, self._seq + 1
        note, envelope = sign(text, self._key), read_envelope(text)
        return Draft(EntryKind.ENVELOPE, note, name, envelope=envelope)


class History:
    """A site that is made to grow; `held` keeps envelopes of line 0 back, as if they were late.

    A batch runs on every line from a third to three quarters of each `period`, s; the first
    periods can be shorter ones: `early` is how many, and how long each is, s.
    """

    def __init__(
        self, folder: Path, lines: int, period: int = DAY_S, early: tuple[int, int] = (0, 0)
    ) -> None:
        self.folder, self.lines, self.period, self.early = folder, lines, period, early
        self.site: Site = open_site(folder, NAME)
        tree = plant_tree(lines)
        plant, faults = read_plant(tree)
        assert not faults, faults
        self.site.state_plant(PlantFile(folder, plant, tree, (("set", (FACTOR,)),), ()), 0)
        self.streams: list[Stream] = []
        for first in range(0, lines, AGENT_LINES):
            self._enrol(first // AGENT_LINES, range(first, min(first + AGENT_LINES, lines)))
        self.held: list[Draft] = []
        self._days = self._turn = 0
        self.making = self.taking = self.merging = self.rotating = 0.0

    def _enrol(self, number: int, lines: range) -> None:
        """Enrol the agent of some lines and enter its channel table."""
        key = SecretKey(f"gateway-{number}" if number else "gateway", bytes([7]) * 32)
        self.site.enrol_agent(key.public)
        channels = tuple(
            Channel(
                f"{kind}{n}.e", ChannelKind.COUNTER, f"{kind}{n}", "", "e", Fraction(1, 100),
                "kWh", Fraction(1), "", AssuranceTier.AGENT_SIGNED, stream=f"line-{n}",
            )
            for n in lines
            for kind in ("own", "share")
        )  # fmt: skip
        text = render_table(ChannelTable(NAME, key.name, channels))
        cfg = identity(text)
        self.site.journal.append([Draft(EntryKind.TABLE, sign(text, key), cfg)])
        ahead = max(AHEAD // self.lines, 1)
        self.streams += [Stream(n, key, cfg, ahead) for n in lines]

    @property
    def readings(self) -> int:
        """Readings in the journal."""
        return self.site.engine.reading_count

    def grow(
        self,
        readings: int,
        progress: Callable[[int], None] = lambda _: None,
        hold: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """Add readings, in groups as ingest commits them; `hold` says which hours come late.

        Streams take turns. `taking` sums the CPU time of journal and engine, `merging` that of
        merging segments and `rotating` that of putting old parts of the journal into cold files,
        both of which a running site does beside it; `making` is the envelopes' own cost.
        """
        goal = self.readings + readings
        while self.readings < goal:
            started = time.process_time()
            drafts = []
            for _ in range(GROUP):
                stream = self.streams[self._turn % self.lines]
                self._turn += 1
                late = stream.number == 0 and hold((stream.t - START) // (3600 * S))
                draft = stream.cut()
                (self.held if late else drafts).append(draft)
            made = time.process_time()
            self.take(drafts)
            taken = time.process_time()
            if self.site.engine.sealed.is_set():
                self.site.engine.sealed.clear()
                self.site.engine.compact()
            self.making += made - started
            self.taking += taken - made
            merged = time.process_time()
            if self.site.journal.size - self.site.journal.hot_start > KEPT:
                rotate(self.site.journal, DEFAULT_POLICY.entries)
            self.rotating += time.process_time() - merged
            self.merging += merged - taken
            self._batches()
            progress(self.readings)

    def take(self, drafts: list[Draft]) -> None:
        """Enter envelopes as ingest does."""
        placed = self.site.journal.append(drafts)
        for (index, new), draft in zip(placed, drafts, strict=True):
            if new and draft.envelope is not None:
                self.site.engine.offer(index, draft.identity, draft.envelope)
        self.site.engine.catch_up()

    def _batches(self) -> None:
        """Begin and end the batches whose time has come: of a day, from eight to six."""
        now = min(stream.t for stream in self.streams)
        while True:
            day, period = self._turn_of(self._days)
            if day + period * 3 // 4 * S > now:
                return
            for n in range(self.lines):
                base = {"line": f"l{n}", "batch": f"d{self._days}-l{n}"}
                started = {**base, "id": f"s{self._days}-{n}", "event": "start", "product": "p"}
                ended = {**base, "id": f"e{self._days}-{n}", "event": "end", "good": "100"}
                self.site.events.take({**started, "t": str(day + period // 3 * S)}, "bench")
                self.site.events.take({**ended, "t": str(day + period * 3 // 4 * S)}, "bench")
            self._days += 1

    def _turn_of(self, number: int) -> tuple[int, int]:
        """Start, ns, and length, s, of a period."""
        count, short = self.early
        if number < count:
            return START + number * short * S, short
        return START + (count * short + (number - count) * self.period) * S, self.period

    def settle(self) -> None:
        """Compute, seal, merge, and put old parts of the journal aside."""
        self.site.refresh()
        self.site.engine.seal()
        self.site.engine.compact()
        self.site.engine.save()
        rotate(self.site.journal, DEFAULT_POLICY.entries)

    def reopen(self) -> float:
        """Close and open the site again; seconds the opening takes until results are known."""
        self.site.close()
        started = time.perf_counter()
        self.site = open_site(self.folder)
        self.site.refresh()
        return time.perf_counter() - started
