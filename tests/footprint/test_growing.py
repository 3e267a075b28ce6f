"""A window that is carried on holds what a window added up anew holds, whatever comes when."""

from __future__ import annotations

import itertools
import os
import random
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from footprint.authority import ALL_TIME, Authority
from footprint.growing import WINDOWS
from footprint.intake import MemoryReadings
from footprint.metering import Meter
from footprint.neighbours import NEAR
from footprint.plant import Register
from footprint.restatement import reach_of
from footprint.stretch import FOREVER, Stretch
from mrv.channel import AssuranceTier
from mrv.envelope import Clock, ClockState, Column, Envelope
from mrv.interval import NS_PER_MS
from mrv.measurement.activity import LawParameters
from mrv.measurement.calibration import CertificateState
from mrv.series import SeriesKey

EXAMPLES = int(os.environ.get("METERPRINT_GROWING", "60"))
S = 10**9
KEY = SeriesKey("a", "s", "m.e")
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")
REGISTER = Register("e", "counter", "kWh", Fraction(1), 0, 0)


def stretch(choice, start, end, opening=None, closing=None):
    load, ppm = choice.choice((((), ()), ((7,), (300,)), ((10, 400, 90_000), (150, -70, 30))))
    law = LawParameters(
        modulus=choice.choice((0, 200, 10_000)),
        max_rate=choice.choice((0, 40_000, 10**7)),
        gap_ms=choice.choice((0, 3000)),
        load=load,
        ppm=ppm,
    )
    state = CertificateState.MISSING
    one = Fraction(1)
    return Stretch(start, end, one, "kWh", one, law, None, state, opening, closing)


def stretches_of(choice):
    """One stretch, or several with and without an exchange between them, some still to come."""
    cuts = sorted(choice.sample(range(1, 60), choice.choice((0, 0, 1, 2))))
    bounds = [0, *(cut * S for cut in cuts), FOREVER]
    found = []
    opening = None
    for start, end in itertools.pairwise(bounds):
        exchanged = end != FOREVER and choice.random() < 0.5
        closing = choice.randrange(0, 300) if exchanged and choice.random() < 0.8 else None
        found.append(stretch(choice, start, end, opening, closing))
        opening = choice.randrange(0, 30) if exchanged else None
    return tuple(found)


class Counter:
    """A counter that dips, spikes, rolls over, is reset and fails; some of it arrives late."""

    def __init__(self, choice):
        self.choice, self.at, self.shown, self.count = choice, 0, choice.randrange(0, 300), 0
        self.readings = MemoryReadings()
        self.late: list[tuple[int, int | None]] = []

    def next(self):
        choice = self.choice
        self.at += choice.choice((1, 7 * NS_PER_MS, 300 * NS_PER_MS, S, S, 4 * S))
        self.shown += choice.choice((0, 1, 3, 20))
        kind = choice.random()
        if kind < 0.04:
            return self.at, None
        if kind < 0.10:
            return self.at, choice.randrange(0, 12)
        if kind < 0.14:
            return self.at, self.shown + choice.choice((10**5, 10**9))
        if kind < 0.17:
            self.shown = choice.randrange(0, 12)
        return self.at, self.shown

    def take(self):
        """Some readings arrive; the rows that did."""
        rows = [self.next() for _ in range(self.choice.randint(1, 5))]
        if self.choice.random() < 0.2:
            self.late.append(rows.pop(self.choice.randrange(len(rows))))
        if self.late and self.choice.random() < 0.15:
            rows.append(self.late.pop())
        if rows and self.choice.random() < 0.05:  # a twin of another value
            rows.append((rows[0][0], self.choice.randrange(0, 400)))
        if not rows:
            return rows
        rows.sort(key=lambda row: row[0])
        times = [t for t, _ in rows]
        steps = [0, *(b - a for a, b in itertools.pairwise(times))]
        column = Column("m.e", times[0], steps, [v for _, v in rows], [""] * len(rows))
        name = f"{self.count:064d}"
        self.readings.add_envelope(
            name,
            Envelope("x", "a", "s", "e", self.count, "p", times[-1], 0, "", CLOCK, "", (column,)),
        )
        self.count += 1
        return rows


def reached(counter, meter, first, last):
    """Time that readings in [first, last] may change, as the live engine finds it."""
    return reach_of(counter.readings, KEY, first, last, meter.reaches)


def end_of(meter):
    """Where an open batch ends for now."""
    return (meter.span()[1] // NS_PER_MS + 1) * NS_PER_MS


@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 2**48))
def test_a_window_that_grows_holds_what_one_added_up_anew_holds(seed):
    choice = random.Random(seed)
    counter, parts = Counter(choice), stretches_of(choice)
    speaks = (Authority(0, ALL_TIME, KEY, AssuranceTier.AGENT_SIGNED),)

    def meter():
        return Meter(REGISTER, speaks, parts, counter.readings)

    live = meter()
    starts = [choice.randrange(0, 30) * S // 2 for _ in range(choice.choice((1, 1, 2, 6)))]
    for _ in range(40):
        rows = counter.take()
        if rows:
            first, last = rows[0][0], rows[-1][0]
            live.forget(*reached(counter, live, first, last), first)
        if live.span() is None or choice.random() < 0.3:
            continue
        now = end_of(live)
        for start in starts:
            end = now if choice.random() < 0.8 else start + choice.randrange(1, 80) * S
            if start >= end:
                continue
            cuts = [start, end]
            if choice.random() < 0.2 and end - start > S:
                cuts = [start, start + (end - start) // NS_PER_MS // 2 * NS_PER_MS, end]
            assert live.windows(cuts) == meter().windows(cuts), (seed, cuts)
            assert live.near(start) == meter().near(start)
        if choice.random() < 0.05:
            live.trim(2)
            assert live.remembered <= 2 + WINDOWS + NEAR
    assert len(live._growing) <= WINDOWS
