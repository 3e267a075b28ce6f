"""Stamps of a wrong clock in a view: moved once the boot's next trusted envelope has come."""

from __future__ import annotations

import random

import pytest

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.feed import Feed
from ingest.line_protocol import rows_of
from ingest.projector import rebuild_store
from mrv.envelope import Clock, ClockState, parse
from mrv.reporting.completeness import chain_link
from mrv.reporting.mending import mendings
from mrv.verification.note import split
from tests.ingest.influx_work import KEY, dump, open_store, project
from tests.ingest.test_receiver import SITE, Bench, S

TRUE = 1_760_000_000 * S
"""True time when the monotonic clock shows 0."""
GOOD, BAD = Clock(ClockState.SYNCHRONISED, 5, "ntp"), Clock(ClockState.UNKNOWN, 0, "none")
HOUR = 3600 * S


class Memory:
    """A store that forgets: rows by time, as a set."""

    pending = 0

    def __init__(self):
        self.rows = set()

    def append(self, chunks):
        self.rows |= {row for chunk in chunks for row in rows_of(chunk.series)}

    def forget(self, chunks):
        self.rows -= {row for chunk in chunks for row in rows_of(chunk.series)}

    def read(self, key, start, end):
        raise NotImplementedError

    def keys(self):
        return []

    def flush(self):
        pass

    def clear(self):
        self.rows.clear()

    def close(self):
        pass


class Machine:
    """A machine with a monotonic clock and a wall clock that may be wrong."""

    def __init__(self, key, boot, mono):
        self.mono = mono
        self.wrong = 0
        self.chain = StreamChain(
            SITE,
            "line-1",
            key,
            "",
            None,
            now=lambda: TRUE + self.mono + self.wrong,
            mono=lambda: self.mono,
            boot=boot,
            epoch=f"{boot:0>16}",
        )

    def send(self, clock, wrong, number):
        """An envelope of three readings, ten seconds later."""
        self.mono += 10 * S
        self.wrong = wrong
        stamp = TRUE + self.mono + wrong
        rows = [RawReading("m.energy", stamp - i * S, 0, number) for i in (2, 1, 0)]
        return [out.note for out in self.chain.cut(rows, clock)]


def history(key, seed):
    """Envelopes of a machine that boots with a wrong clock, is set, loses it, and boots again."""
    sent = []
    for boot in ("1", "2"):
        machine = Machine(key, boot, seed.randrange(S))
        for wrong, clock, most in (
            (-TRUE, BAD, 6),
            (0, GOOD, 4),
            (HOUR, BAD, 4),
            (seed.randrange(S // 1000), GOOD, 3),
            (-HOUR, BAD, 3),
            (seed.randrange(S // 1000), GOOD, 2),
        ):
            for _ in range(seed.randrange(most)):
                sent += machine.send(clock, wrong, len(sent))
    return sent


def wanted(notes):
    """(time, value) of every reading where `mendings` says it belongs."""
    envelopes = [parse(split(note)[0]) for note in notes]
    links = {e.identity: e for e in (chain_link(v, str(i)) for i, v in enumerate(envelopes))}
    offsets = {m.link.identity: m.offset for m in mendings(links.values())}
    found = set()
    for number, envelope in enumerate(envelopes):
        (column,) = envelope.cols
        t = column.t0
        for dt, v in zip(column.dt, column.v, strict=True):
            t += dt
            found.add((t + offsets.get(str(number), 0), v))
    assert offsets, "nothing is mended: no test"
    return found


@pytest.mark.parametrize("case", range(24))
def test_in_any_order_a_view_ends_where_the_law_of_mending_says(tmp_path, case):
    seed = random.Random(case)
    bench = Bench(tmp_path / "site")
    notes = history(bench.key, seed)
    order = seed.sample(notes, len(notes)) if case % 2 else list(notes)
    memory = Memory()
    feed = Feed(bench.journal, memory)
    while order:
        size = bench.journal.size
        some, order = order[: (count := seed.randrange(1, 6))], order[count:]
        bench.take(*some)
        start = 0 if seed.randrange(8) == 0 else size
        feed.take(start, bench.journal.size)
    assert {(t, v) for t, (_, v, _) in memory.rows} == wanted(notes)
    bench.close()


@pytest.mark.influx
def test_mended_points_leave_their_old_place_in_a_real_server(address, bench, tmp_path):
    notes = []
    number = 0
    while len(notes) < 8:
        notes, number = history(bench.key, random.Random(number)), number + 1
    store = open_store(address)
    view = project(bench, store, tmp_path)
    for note in random.Random(2).sample(notes, len(notes)):
        bench.take(note)
        view.step()
    series = store.read(KEY, -(2**62), 2**62)
    assert set(zip(series.t, series.v, strict=True)) == wanted(notes)
    first = dump(address)
    rebuild_store(bench.journal, store, lambda *_: None)
    assert dump(address) == first
    store.close()
