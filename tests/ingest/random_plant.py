"""A site to which anything happens, and the law that live figures are those of a full computation."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from footprint.engine import Engine
from footprint.plant_reading import read_plant
from ingest.engine_shell import EngineShell
from ingest.entry import Draft, EntryKind
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, Event, parse
from mrv.fact import REGISTRY
from mrv.measurement.activity import PYTHON
from mrv.verification.note import SecretKey, identity, sign, split
from tests.faults.drilled_site import FACTOR

S = 10**9
METERS = ("m0", "m1", "air")
STREAMS = (*METERS, "scale")
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "ntp")
DOUBTED = Clock(ClockState.INFORMATIVE, 1000, "system")
PLANT = {
    "site": "shell",
    "policy": {"pool_window_s": "100", "changeover_s": "30", "gap_s": "60"},
    "lines": [{"id": "l0"}, {"id": "l1"}, {"id": "l2"}],
    "products": [{"id": "p", "unit": "piece"}, {"id": "q", "unit": "piece"}],
    "instruments": [
        {
            "id": name,
            "mpe_percent": "1",
            "registers": [
                {
                    "id": "e",
                    "kind": "counter",
                    "unit": "kWh",
                    "resolution": "0.1",
                    "max_per_hour": "20000",
                    "modulus": "100000",
                }
            ],
        }
        for name in METERS
    ]
    + [
        {
            "id": "scale",
            "mpe_percent": "1",
            "registers": [{"id": "e", "kind": "amount", "unit": "kg", "resolution": "1"}],
        }
    ],
    "sources": [
        {"id": "w", "line": "l0", "instrument": "scale", "register": "e", "factor": {"id": "w"}},
        {"id": "m0", "line": "l0", "instrument": "m0", "register": "e", "factor": {"id": "f"}},
        {"id": "m1", "line": "l1", "instrument": "m1", "register": "e", "factor": {"id": "g"}},
        {
            "id": "air",
            "lines": ["l0", "l1"],
            "instrument": "air",
            "register": "e",
            "factor": {"id": "f"},
        },
    ],
}


def factors(value="0.5"):
    rows = (
        FACTOR,
        {**FACTOR, "id": "g", "value": "2"},
        {**FACTOR, "id": "w", "value": "3", "unit": "kgCO2e/kg", "category": "material"},
    )
    return [{**row, "value": value if row["id"] == "f" else row["value"]} for row in rows]


class Plant:
    """A site whose state directory is opened and closed while things happen to it."""

    def __init__(self, folder, choice):
        self.folder, self.choice = folder, choice
        self.key = SecretKey("a", bytes(range(32)))
        plant, faults = read_plant(PLANT)
        assert faults == []
        self.site = open_site(folder, "shell")
        self.site.state_plant(PlantFile(folder, plant, PLANT, (("x", tuple(factors())),), ()), 0)
        self.site.enrol_agent(self.key.public)
        own = random.Random(choice.getstate()[1][0])  # leaves `choice` as it is
        together = own.choice(((), ("m0", "air"), ("m1", "air"), STREAMS))
        self.stream_of = {m: together[0] if m in together else m for m in STREAMS}
        self.gaps = own.choice((0, 0.04))
        self.cfg = self.table(self.key, METERS, "scale")
        self.clock = dict.fromkeys(STREAMS, 0)
        self.wrong = dict.fromkeys(STREAMS, 0)
        self.value = dict.fromkeys(STREAMS, 0) | {"m1": 99_950}
        chains = {
            m: self.chain(m, m, self.key, self.cfg, f"{i:016x}") for i, m in enumerate(STREAMS)
        }
        self.chains = {m: chains[stream] for m, stream in self.stream_of.items()}
        self.second = None
        self.held: list[Draft] = []
        self.open: dict[str, str] = {}
        self.ended: list[tuple[str, str, int, int]] = []
        self.count = 0
        self.papers = 0

    def table(self, key, counters, *scales, streams=True):
        """Enter the table of an agent's channels, one stream each; its identity."""
        text = render_table(
            ChannelTable(
                "shell",
                key.name,
                tuple(
                    Channel(
                        f"{m}.e",
                        ChannelKind.AMOUNT if m in scales else ChannelKind.COUNTER,
                        m,
                        "",
                        "e",
                        Fraction(1) if m in scales else Fraction(1, 10),
                        "kg" if m in scales else "kWh",
                        Fraction(1),
                        "",
                        AssuranceTier.AGENT_SIGNED,
                        stream=self.stream_of[m] if streams else "",
                    )
                    for m in sorted((*counters, *scales))
                ),
            )
        )
        self.site.journal.append([Draft(EntryKind.TABLE, sign(text, key), identity(text))])
        return identity(text)

    def chain(self, meter, stream, key, cfg, epoch):
        """The chain of a stream; its clock is wrong by so much, its monotonic clock is not."""
        return StreamChain(
            "shell",
            stream,
            key,
            cfg,
            None,
            amounts=frozenset({"scale.e"}),
            now=lambda: (self.clock[meter] + self.wrong[meter]) * S,
            mono=lambda: self.clock[meter] * S + 10**12,
            boot="boot",
            epoch=epoch,
        )

    def hold(self, outgoing):
        for out in outgoing:
            envelope = parse(split(out.note)[0])
            self.held.append(Draft(EntryKind.ENVELOPE, out.note, out.identity, envelope=envelope))

    def rows(self, meter):
        found = []
        for _ in range(self.choice.randint(1, 12)):
            self.clock[meter] += self.choice.choice((1, 5, 10, 10, 10, 90))
            self.value[meter] += self.choice.choice((0, 1, 3, 8))
            shown = self.value[meter] % 100_000
            if self.choice.random() < 0.05:
                shown = max(shown - 50, 0)
            at = (self.clock[meter] + self.wrong[meter]) * S
            found.append(
                RawReading(f"{meter}.e", at, 0, None if self.choice.random() < 0.03 else shown)
            )
        return found

    def read(self):
        meter = self.choice.choice(METERS)
        if self.choice.random() < 0.1:  # the clock goes wrong, or is set right
            back = self.choice.choice((0, 40, 300, -40))
            self.wrong[meter] = 0 if self.wrong[meter] or self.clock[meter] < 50 else back
        chain = self.chains[meter]
        inner = chain._chain
        place = inner._seq, inner._prev
        clock = DOUBTED if self.wrong[meter] else CLOCK
        if self.gaps and self.choice.random() < self.gaps:  # it did not answer for a while
            start, last = self.clock[meter], self.choice.choice((20, 150, 400))
            self.clock[meter] += last
            gap = Event("gap", start * S, (start + last) * S, f"{meter}.e", "silent")
            self.hold(chain.cut([], clock, [gap]))
        self.hold(chain.cut(self.rows(meter), clock))
        if self.choice.random() < 0.03:  # the disk of yesterday: the same number, other readings
            inner._seq, inner._prev = place
            self.hold(chain.cut(self.rows(meter), clock))

    def weigh(self):
        self.clock["scale"] += self.choice.choice((1, 20, 60))
        names = [*self.open.values(), ""]
        row = RawReading(
            "scale.e",
            self.clock["scale"] * S,
            0,
            self.choice.randint(0, 40),
            length=self.choice.choice((0, 5, 15)) * S,
            tag=self.choice.choice(names),
        )
        self.hold(self.chains["scale"].cut([row], CLOCK))

    def read_by_another(self):
        """A second agent reads the meter too; by its name it may be the one that speaks."""
        if self.second is None:
            key = SecretKey(self.choice.choice(("Z", "b")), bytes(range(1, 33)))
            self.site.enrol_agent(key.public)
            cfg = self.table(key, ("m0",), streams=self.choice.random() < 0.5)
            self.second = self.chain("m0", "other", key, cfg, "f" * 16)
        known = dict(self.clock), dict(self.value)
        self.hold(self.second.cut(self.rows("m0"), CLOCK if not self.wrong["m0"] else DOUBTED))
        self.clock, self.value = known

    def _cut(self, meter, rows):
        self.hold(self.chains[meter].cut(rows, CLOCK))

    def run(self, meter, start, count, step):
        """So many readings in a row, from `start` on."""
        rows = []
        for place in range(count):
            self.value[meter] += self.choice.choice((0, 1, 3, 8))
            rows.append(RawReading(f"{meter}.e", (start + place * step) * S, 0, self.value[meter]))
        self._cut(meter, rows)

    def deliver_all(self):
        """What was read arrives in its order."""
        self.site.journal.append(self.held)
        self.held.clear()

    def event(self, line, name, at, kind):
        """A batch begins or ends, with ten good pieces."""
        body = {
            "id": f"{kind}-{name}",
            "line": line,
            "batch": name,
            "event": kind,
            "t": str(at * S),
        }
        body |= {"product": "p"} if kind == "start" else {"good": "10"}
        self.site.events.take(body, "t")

    def paper(self, meter, start, end):
        """An approved calibration holds from second to second, or without end."""
        self.papers += 1
        name = f"c{self.papers}"
        body = {
            "instrument": meter,
            "kind": "calibration",
            "points": [
                {"load": "100", "error_percent": "0.4", "expanded_percent": "0.1"},
                {"load": "9000", "error_percent": "-0.2", "expanded_percent": "0.1"},
            ],
        }
        self.site.facts.record(
            REGISTRY,
            "certificate_recorded",
            name,
            body,
            author="t",
            valid_from=start * S,
            valid_to=None if end is None else end * S,
        )
        self.site.facts.record(REGISTRY, "certificate_approved", name, {"by": "t"}, author="t")

    def deliver(self):
        """What was read arrives, some of it late and out of order."""
        self.choice.shuffle(self.held)
        some = self.choice.randint(0, len(self.held))
        if some:
            self.site.journal.append(self.held[:some])
            del self.held[:some]

    def batch(self):
        line = self.choice.choice(("l0", "l1", "l2"))
        now = max(self.clock.values())
        at = max(now - self.choice.choice((0, 0, 0, 40, 250)), 1)
        self.count += 1
        event = {"id": f"e{self.count}", "line": line, "t": str(at * S)}
        if self.ended and self.choice.random() < 0.2:  # somebody corrects when a batch ended
            line, name, end, seq = self.ended.pop(self.choice.randrange(len(self.ended)))
            end += self.choice.choice((-30, -5, 20, 90))
            body = {**event, "line": line, "batch": name, "event": "end", "supersedes": seq}
            fact, _ = self.site.events.take({**body, "good": "4", "t": str(max(end, 1) * S)}, "t")
            self.ended.append((line, name, end, fact.header.seq))
            return
        if line in self.open:
            body = {**event, "batch": self.open.pop(line), "event": "end"}
            body["good"] = self.choice.choice(("0", "3", "10"))
            fact, _ = self.site.events.take(body, "t")
            self.ended.append((line, body["batch"], at, fact.header.seq))
            return
        self.open[line] = f"b{self.count}"
        body = {**event, "batch": f"b{self.count}", "event": "start"}
        body["product"] = self.choice.choice(("p", "q"))
        self.site.events.take(body, "t")

    def state(self):
        now = max(self.clock.values())
        kind = self.choice.choice(("factor", "paper", "revoke", "exchange", "close", "plant"))
        record = self.site.facts.record
        if kind == "factor":
            rows = factors(self.choice.choice(("0.5", "0.6", "0.7")))
            record(
                REGISTRY, "factor_set", f"x{self.choice.randint(0, 1)}", {"rows": rows}, author="t"
            )
        elif kind == "paper":
            start = self.choice.randint(0, now + 1)
            end = self.choice.choice((None, start + 300))
            self.paper(self.choice.choice(METERS), start, end)
        elif kind == "revoke" and self.papers:
            name = f"c{self.choice.randint(1, self.papers)}"
            at = self.choice.randint(0, now + 1)
            record(REGISTRY, "certificate_revoked", name, {}, author="t", valid_from=at * S)
        elif kind == "exchange":
            meter = self.choice.choice(METERS)
            closing = {"e": self.value[meter] % 100_000}
            body = {"closing": closing, "opening": {"e": 0}, "serial": ""}
            at = self.choice.choice((self.clock[meter], self.choice.randint(0, now + 1)))
            record(REGISTRY, "instrument_exchanged", meter, body, author="t", valid_from=at * S)
            if self.choice.random() < 0.5:
                self.value[meter] = 0
        elif kind == "close":
            body = {"agent": "a", "stream": self.choice.choice(METERS)}
            start = self.choice.randint(0, now + 1)
            record(
                REGISTRY,
                "chain_closed",
                body["stream"],
                body,
                author="t",
                valid_from=start * S,
                valid_to=(start + 400) * S,
            )
        elif kind == "plant":
            tree = {
                **PLANT,
                "policy": {**PLANT["policy"], "gap_s": self.choice.choice(("20", "60"))},
            }
            record(REGISTRY, "plant_model", "shell", tree, author="t", valid_from=now * S)

    def reopen(self):
        if self.choice.random() < 0.5:
            self.site.close()
        else:  # as a kill leaves it
            self.site.engine.store._writer.close()
            self.site.quarantine.close()
            self.site.journal.close()
        self.site = open_site(self.folder)

    def seal(self):
        self.site.engine.catch_up()
        self.site.engine.seal()
        if self.choice.random() < 0.3:
            self.site.engine.compact()


def agrees(site) -> None:
    """The plain law over everything, one batch after the other, says what the live engine says."""
    whole = EngineShell(site.journal, PYTHON)
    whole.catch_up()
    whole.refresh()
    site.refresh()
    live = site.engine.results
    assert set(live) == set(whole.results)
    alone = Engine(whole.engine.knowledge, whole.readings)
    for name in live:
        plain = alone.batch(name)
        assert live[name] == plain == whole.results[name], name
        assert live.digest(name) == plain.digest()
    assert site.engine.reading_count == whole.reading_count
    assert site.engine.findings() == whole.findings()
    rules = Counter(f.rule for result in whole.results.values() for f in result.findings)
    assert site.engine.batch_findings() == rules
