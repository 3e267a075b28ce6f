"""Laws of the engine that hold for any plant: conservation, tiling, order of arrival, chunking."""

from __future__ import annotations

import copy
import itertools
import random
from dataclasses import replace
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from footprint.allocation import largest_remainder, spread
from footprint.batch import Part
from footprint.conservation import books
from footprint.engine import Engine
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge
from footprint.pools import line_pool
from mrv.column import Column
from mrv.envelope import Clock, ClockState, Envelope
from mrv.reporting.substitution import mean_rate_fill
from tests.footprint.test_engine import PLANT, S, World, table_of

SPAN = 600
"""Seconds a world lasts."""
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")


def samples_of(draw, name):
    """A counter with failed readings, gaps, dips, roll-overs and resets, as they come."""
    t, v, rows = 0, draw.randrange(0, 5000), []
    while t <= SPAN:
        kind = draw.random()
        value = v
        if kind < 0.03:
            value = None
        elif kind < 0.06:
            value = draw.randrange(0, 10)
        elif kind < 0.08:
            v = draw.randrange(0, 10)
            value = v
        elif kind < 0.10:
            value = v + 10**7
        rows.append((t * 1000 + draw.randrange(0, 1000), value))
        t += draw.choice((1, 5, 7, 13, 60))
        v += draw.randrange(0, 40)
    assert name
    return rows


def envelopes(name, rows, each, draw=None):
    """The readings in envelopes of `each`, or of any size that is drawn."""
    made, prev, place = [], "", 0
    while place < len(rows):
        size = each if draw is None else draw.randrange(1, 9)
        part = rows[place : place + size]
        times = [t * 10**6 for t, _ in part]
        steps = [0, *(b - a for a, b in itertools.pairwise(times))]
        column = Column(f"{name}.e", times[0], steps, [v for _, v in part], [""] * len(part))
        seq = len(made)
        envelope = Envelope(
            "x", "a", name, name, seq, prev, times[-1], 0, "", CLOCK, "cfg", (column,)
        )
        prev = f"{name}-{size}-{seq}"
        made.append((prev, envelope))
        place += size
    return made


def world_of(seed):
    """Any plant: batches that overlap or never end, exchanges, certificates, changed ratios."""
    draw = random.Random(seed)
    plant = copy.deepcopy(PLANT)
    for item in plant["instruments"]:
        if draw.random() < 0.5:
            item["registers"][0]["modulus"] = "10000"
        if draw.random() < 0.7:
            item["registers"][0]["max_per_hour"] = str(draw.choice((10, 1000, 10**6)))
    plant["policy"] |= {
        "gap_s": str(draw.choice((0, 10, 30))),
        "pool_window_s": str(draw.choice((50, 77, 100))),
        "changeover_s": str(draw.choice((0, 20, 500))),
    }
    world = World(plant)
    names = ("m", "air")
    world.rows = {name: samples_of(draw, name) for name in names}
    for number in range(draw.randrange(0, 3)):
        body = {name: {"e": str(draw.randrange(0, 3000))} for name in ("closing", "opening")} | {
            "serial": draw.choice(("", "n"))
        }
        if draw.random() < 0.5:
            body["ratio"] = str(draw.choice((2, 40)))
        at = draw.randrange(0, SPAN) * S + draw.randrange(0, S)
        world.state("registry", "instrument_exchanged", draw.choice(names), body, at)
        assert number >= 0
    for number in range(draw.randrange(0, 4)):
        points = [
            {"load": str(load), "error_percent": str(draw.uniform(-5, 5)), "expanded_percent": "1"}
            for load in sorted(draw.sample(range(0, 10**6, 500), draw.randrange(1, 4)))
        ]
        body = {"kind": "calibration", "instrument": draw.choice(names), "points": points}
        start = draw.randrange(0, SPAN) * S
        end = None if draw.random() < 0.5 else start + draw.randrange(1, SPAN) * S
        world.state("registry", "certificate_recorded", f"c{number}", body, start, end)
        if draw.random() < 0.7:
            world.state("registry", "certificate_approved", f"c{number}", {})
        if draw.random() < 0.2:
            world.state("registry", "certificate_revoked", f"c{number}", {}, start + 9 * S)
    if draw.random() < 0.4:
        later = copy.deepcopy(plant)
        later["instruments"][0]["ratio"] = str(draw.choice((1, 3)))
        world.state("registry", "plant_model", "x", later, draw.randrange(1, SPAN) * S)
    for number in range(draw.randrange(0, 7)):
        start = draw.randrange(0, SPAN)
        end = None if draw.random() < 0.15 else start + draw.randrange(1, 200)
        good = str(draw.choice((0, 1, 7, 1000)))
        world.batch(f"b{number}", start, end, good, draw.choice("pq"), draw.choice("lk"))
    world.envelopes = [e for name in names for e in envelopes(name, world.rows[name], 5)]
    return world


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_every_registers_books_close_to_nothing(seed):
    for book in books(world_of(seed).engine()):
        assert book.residual == 0, (seed, book)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_neither_order_of_arrival_nor_chunking_changes_a_digit(seed, other):
    world = world_of(seed)
    plain = world.engine()
    draw = random.Random(other)
    chunked = [e for name, rows in world.rows.items() for e in envelopes(name, rows, 0, draw)]
    readings = MemoryReadings()
    for identity, table in world.tables:
        readings.add_table(identity, table)
    draw.shuffle(chunked)
    for identity, envelope in chunked:
        readings.add_envelope(identity, envelope)
    facts = list(world.facts)
    draw.shuffle(facts)
    shuffled = Engine(Knowledge(facts), readings)
    names = [batch.id for batch in plain.batches()]
    assert {n: plain.batch(n).digest() for n in names} == {
        n: shuffled.batch(n).digest() for n in draw.sample(names, len(names))
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.lists(st.integers(0, SPAN * 1000), max_size=12))
def test_windows_that_tile_time_tile_the_activity_of_a_register_whatever_happened_to_it(
    seed, places
):
    engine = world_of(seed).engine()
    plant = engine.knowledge.plants[-1][1]
    for source in plant.sources:
        meter = engine.metered(plant, source).meter
        cuts = sorted({0, (SPAN + 100) * 1000, *places})
        cuts = [cut * 10**6 for cut in cuts]
        whole = meter.whole(cuts[0], cuts[-1])
        parts = meter.windows(cuts)
        assert sum((p.corrected_value("kWh") for p in parts), Fraction(0)) == (
            whole.corrected_value("kWh")
        )
        assert sum((p.metered_value("kWh") for p in parts), Fraction(0)) == (
            whole.metered_value("kWh")
        )


@given(
    st.integers(-(10**15), 10**15),
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 10**9), min_size=1, max_size=9),
)
def test_a_shared_pool_adds_up_and_nobody_gets_more_than_one_above_his_part(amount, keys):
    if not sum(keys.values()):
        keys["x"] = 1
    shares = largest_remainder(amount, keys)
    total = sum(keys.values())
    assert sum(shares.values()) == amount
    assert all(abs(shares[n] - Fraction(amount * k, total)) < 1 for n, k in keys.items())


@given(
    st.integers(0, 10**12),
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.lists(st.integers(0, 2500)),
)
def test_output_spread_over_time_adds_up(amount, start, length, places):
    cuts = sorted({0, 3000, *places})
    parts = [spread(amount, start, start + length, a, b) for a, b in itertools.pairwise(cuts)]
    assert sum(parts) == amount


def named(plant, agent):
    """The plant with the agent that reads its first meter."""
    changed = copy.deepcopy(plant)
    changed["instruments"][0]["agent"] = agent
    return changed


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**9),
    st.integers(1, SPAN - 1),
    st.lists(st.integers(0, SPAN * 1000), max_size=8),
)
def test_a_gateway_that_takes_over_changes_no_window(seed, noon, places):
    """One agent all day, or one until noon and another after: the register counts the same."""
    draw = random.Random(seed)
    rows = samples_of(draw, "m")
    one = World(named(PLANT, "a"))
    one.envelopes = envelopes("m", rows, 5)
    two = World(named(PLANT, "a"))
    two.state("registry", "plant_model", "x", named(PLANT, "b"), noon * S)
    two.tables.append(("cfg", table_of("a")))
    two.tables.append(("b", table_of("b")))
    two.envelopes = envelopes("m", [row for row in rows if row[0] < noon * 1000 + 500], 5)
    taken = envelopes("m", [row for row in rows if row[0] >= noon * 1000 - 900], 5)
    prev = ""
    for identity, envelope in taken:
        name = f"b-{identity}"
        two.envelopes.append((name, replace(envelope, agent="b", cfg="b", prev=prev)))
        prev = name
    cuts = [cut * 10**6 for cut in sorted({0, (SPAN + 100) * 1000, *places})]

    def windows(world):
        engine = world.engine()
        plant = engine.knowledge.plants[-1][1]
        found = engine.metered(plant, plant.sources[0]).meter.windows(cuts)
        return [(w.corrected_value("kWh"), w.metered_value("kWh")) for w in found]

    assert windows(one) == windows(two)


@given(st.integers(0, 10**15), st.integers(1, 10**9), st.integers(0, 10**10))
def test_a_fill_is_the_exact_share_of_the_covered_time_floored(amount, covered, missing):
    assert mean_rate_fill(amount, covered, missing) == amount * missing // covered


POOLED = (Part.IDLE, Part.UNATTRIBUTED, Part.SHARED)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**9))
def test_what_batches_get_of_the_pools_is_what_the_pools_hold(seed):
    """The second step is conserved like the first: Σ shares = Σ pools, register by register."""
    engine = world_of(seed).engine()
    plant = engine.knowledge.plants[0][1]
    if len(engine.knowledge.plants) > 1:
        return  # batches of two plant models may divide time into other windows
    for source in plant.sources:
        meter = engine.metered(plant, source).meter
        plan = engine.plan(source.lines, plant)
        ended = [b for b in engine.batches() if b.line in source.lines and b.end is not None]
        groups = {g for b in ended for g in plan.groups_of(b, b.end) if not g.pending}
        held = Fraction(0)
        for group in groups:
            if source.shared:
                found = meter.windows([group.start, group.end])
            else:
                timeline = engine.timeline(source.lines[0])
                times = (group.start, group.end, plant.policy.changeover)
                found = line_pool(meter, timeline, *times).values()
            held += sum((activity.corrected_value("kWh") for activity in found), Fraction(0))
        rows = [s for b in ended for s in engine.batch(b.id).sources if s.source == source.id]
        given_out = sum((v for row in rows for part, v in row.parts if part in POOLED), Fraction(0))
        assert given_out == held
