"""A small real site: journal, facts and signed envelopes, without a broker between them."""

from __future__ import annotations

import copy
from fractions import Fraction

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from footprint.plant_reading import read_plant
from ingest.entry import Draft, EntryKind
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, Head, parse
from mrv.verification.note import SecretKey, identity, sign, split
from tests.faults.drilled_site import FACTOR
from tests.footprint.test_engine import PLANT

S = 10**9
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")


class SmallSite:
    """Open it on a folder; `close` it."""

    def __init__(self, folder, plant=PLANT, tier=AssuranceTier.AGENT_SIGNED, factors=(FACTOR,)):
        self.tree = {**copy.deepcopy(plant), "site": "small.example"}
        model, faults = read_plant(self.tree)
        assert not faults, faults
        self.folder = folder
        self.site = open_site(folder, "small.example")
        self.site.state_plant(
            PlantFile(folder, model, self.tree, (("f.csv", tuple(factors)),), ()), 0
        )
        self.tier = tier
        self.key = SecretKey.generate("agent-1")
        self.site.enrol_agent(self.key.public)
        self._chains = {}
        self._made = {}
        self._count = 0

    def close(self):
        self.site.close()

    def table(self, resolution="1/10", ratio="1", names=None, key=None):
        """Journal the agent's table; every counter of the plant has a stream of its own."""
        key = key or self.key
        rows = tuple(
            Channel(
                f"{item['id']}.{register['id']}",
                ChannelKind(register.get("kind", "counter")),
                item["id"],
                item.get("serial", item["id"]),
                register["id"],
                Fraction(str(register["resolution"]))
                if resolution == "1/10"
                else Fraction(resolution),
                register["unit"],
                Fraction(ratio),
                "",
                self.tier,
                stream=item["id"],
            )
            for item in self.tree["instruments"]
            for register in item["registers"]
            if names is None or item["id"] in names
        )
        text = render_table(ChannelTable("small.example", key.name, rows))
        self.site.journal.append([Draft(EntryKind.TABLE, sign(text, key), identity(text))])
        return identity(text)

    def drafts(
        self, instrument, samples, each=5, cfg=None, key=None, register="e", tag="", amount=False
    ):
        """Signed envelopes with readings (s, counts); nothing is journalled yet.

        An `amount` is weighed at a moment, for batch `tag`.
        """
        key = key or self.key
        cfg = cfg or self.table(key=key)
        place = (key.name, instrument)
        chain = self._chains.get(place)
        if chain is None:
            now = lambda: self._now  # noqa: E731
            chain = self._chains[place] = StreamChain(
                *("small.example", instrument, key, cfg, None),
                amounts=frozenset({f"{instrument}.{register}"} if amount else ()),
                now=now,
                mono=now,
                boot="b",
            )
        made = []
        for start in range(0, len(samples), each):
            part = samples[start : start + each]
            self._now = part[-1][0] * S
            name = f"{instrument}.{register}"
            rows = [RawReading(name, t * S, 0, v, tag=tag) for t, v in part]
            for out in chain.cut(rows, CLOCK):
                envelope = parse(split(out.note)[0])
                made.append(Draft(EntryKind.ENVELOPE, out.note, out.identity, envelope=envelope))
        self._made.setdefault(instrument, []).extend(made)
        return made

    def restart(self, instrument, at):
        """The agent starts again on an outbox that knows the stream up to envelope number `at`."""
        chain = self._chains[self.key.name, instrument]
        made = self._made[instrument][at]
        after = Head(chain._epoch, at, made.identity)
        now = lambda: self._now  # noqa: E731
        cfg = self.table()
        self._chains[self.key.name, instrument] = StreamChain(
            *("small.example", instrument, self.key, cfg, after), now=now, mono=now, boot="b"
        )

    def run(self, instrument, samples, **options):
        """Journal readings (s, counts) of a counter."""
        self.site.journal.append(self.drafts(instrument, samples, **options))

    def event(self, line, batch, t, **body):
        """State a batch event at `t` seconds."""
        self._count += 1
        base = {"id": str(self._count), "line": line, "batch": batch, "t": str(int(t * S))}
        return self.site.events.take({**base, **body}, "test")[0]

    def batch(self, name, start, end, good="10", product="p", line="l"):
        """A batch from start to end, seconds; still open where the end is None."""
        self.event(line, name, start, event="start", product=product)
        if end is not None:
            self.event(line, name, end, event="end", good=good)

    def result(self, name):
        """The figure as known now."""
        self.site.refresh()
        return self.site.engine.results[name]
