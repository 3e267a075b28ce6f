"""Who speaks for a register, and when: gateways, meters and meanings that change at noon."""

from __future__ import annotations

import copy

import pytest

from footprint.batch import BatchState
from footprint.conservation import books
from mrv.channel import AssuranceTier
from tests.footprint.test_engine import PLANT, S, World, steady, table_of

NOON = 200


def two_gateways(cut=NOON):
    """Agent `z` reads the meter until noon, agent `b` from then on; both read on for a while."""
    plant = copy.deepcopy(PLANT)
    plant["instruments"][0]["agent"] = "z"
    world = World(plant)
    world.tables += [("z", table_of("z", ("m",))), ("b", table_of("b", ("m",)))]
    world.run("air", steady(0, 600))
    world.run("m", steady(0, cut + 30), agent="z", cfg="z")
    world.run("m", steady(cut - 30, 600), agent="b", cfg="b")
    later = copy.deepcopy(PLANT)
    later["instruments"][0]["agent"] = "b"
    world.state("registry", "plant_model", "x", later, start=cut * S)
    return world


def direct(result):
    return next(dict(s.parts)["direct"] for s in result.sources if s.source == "m")


@pytest.mark.parametrize("first", ["morning", "noon", "evening"])
def test_a_new_gateway_at_noon_takes_over_without_losing_or_doubling_a_count(first):
    world = two_gateways()
    world.batch("morning", 40, 120)
    world.batch("noon", 150, 250)
    world.batch("evening", 300, 400)
    engine = world.engine()
    engine.batch(first)
    results = {name: engine.batch(name) for name in ("morning", "noon", "evening")}
    assert {r.state for r in results.values()} == {BatchState.FINAL}
    assert [direct(r) for r in results.values()] == [8, 10, 10]
    book = next(b for b in books(engine) if b.subject == "m/e")
    assert (book.total, book.residual) == (60, 0)
    rules = {f.rule for f in engine.meter_findings()}
    assert rules == {"second_channel"}


def test_a_gateway_that_stops_before_it_is_relieved_leaves_a_gap_and_no_loss():
    world = two_gateways()
    kept = []
    for identity, envelope in world.envelopes:
        if envelope.agent == "z" and envelope.t > 170 * S:
            continue
        kept.append((identity, envelope))
    world.envelopes = kept
    world.batch("noon", 150, 250)
    engine = world.engine()
    assert engine.batch("noon").state is BatchState.FINAL
    assert direct(engine.batch("noon")) == 10


def test_a_missing_envelope_of_the_old_gateway_keeps_the_batch_open():
    world = two_gateways()
    world.envelopes = [e for e in world.envelopes if e[0] != "z-m-17"]
    world.batch("noon", 150, 250)
    assert "chain_gap:m.e" in world.engine().batch("noon").waits


def test_a_finer_display_from_noon_on_leaves_the_morning_alone():
    world = World()
    world.run("air", steady(0, 600))
    world.run("m", steady(0, NOON))
    world.batch("morning", 40, 120)
    world.batch("evening", 300, 400)
    before = world.engine().batch("morning")
    later = copy.deepcopy(PLANT)
    later["instruments"][0]["registers"][0]["resolution"] = "0.01"
    world.state("registry", "plant_model", "x", later, start=(NOON + 5) * S)
    finer = table_of("a", ("m",), resolution="1/100")
    world.tables.append(("fine", finer))
    world.run("m", [(t, v * 10) for t, v in steady(NOON + 10, 600)], cfg="fine")
    engine = world.engine()
    assert engine.batch("morning").to_json() == before.to_json()
    assert direct(engine.batch("evening")) == 10
    book = next(b for b in books(engine) if b.subject == "m/e")
    assert book.residual == 0


def test_an_exchange_sets_the_ratio_until_a_later_plant_changes_it():
    world = World()
    world.run("air", steady(0, 600))
    world.run("m", steady(0, 600))
    body = {"closing": {"e": "150"}, "opening": {"e": "150"}, "ratio": "40"}
    world.state("registry", "instrument_exchanged", "m", body, 150 * S)
    same = copy.deepcopy(PLANT)
    same["name"] = "another name"
    world.state("registry", "plant_model", "x", same, start=300 * S)
    changed = copy.deepcopy(PLANT)
    changed["instruments"][0]["ratio"] = "60"
    world.state("registry", "plant_model", "x", changed, start=450 * S)
    for name, start in (("a", 100), ("b", 200), ("c", 350), ("d", 500)):
        world.batch(name, start, start + 40)
    engine = world.engine()
    assert [direct(engine.batch(n)) for n in "abcd"] == [4, 160, 160, 240]


def test_a_certificate_is_of_one_meter_and_leaves_with_it():
    world = World()
    world.run("air", steady(0, 600))
    world.run("m", steady(0, 600))
    points = [{"load": "10", "error_percent": "1", "expanded_percent": "0.2"}]
    body = {"kind": "calibration", "instrument": "m", "points": points}
    world.state("registry", "certificate_recorded", "old", body, 0)
    world.state("registry", "certificate_approved", "old", {})
    exchange = {"closing": {"e": "200"}, "opening": {"e": "200"}, "serial": "new"}
    world.state("registry", "instrument_exchanged", "m", exchange, NOON * S)
    world.batch("morning", 100, 190)
    world.batch("evening", 300, 400)

    def certificates():
        engine = world.engine()
        found = [engine.batch(n) for n in ("morning", "evening")]
        rows = [next(s for s in r.sources if s.source == "m") for r in found]
        return [(row.certificate, row.certificate_state) for row in rows]

    assert certificates() == [("old", "valid"), ("", "missing")]
    world.state("registry", "certificate_recorded", "new", {**body, "serial": "new"}, 0)
    world.state("registry", "certificate_approved", "new", {})
    assert certificates() == [("old", "valid"), ("new", "valid")]


def test_a_counter_without_a_chain_that_does_not_reach_the_end_says_incomplete():
    world = World()
    world.tables = [("cfg", table_of("a", tier=AssuranceTier.MAPPED))]
    world.run("m", steady(0, 150))
    world.run("air", steady(120, 600))
    world.batch("b1", 100, 190)
    result = world.engine().batch("b1")
    assert result.state is BatchState.CLOSED
    assert result.incomplete == ("late_start:air", "not_passed:m")


def test_a_channel_that_is_stated_and_never_heard_is_waited_for():
    world = World()
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    result = world.engine().batch("b1")
    assert "not_passed:m.e" in result.waits
    assert result.incomplete == ()
    assert not next(s for s in result.sources if s.source == "m").corrected


@pytest.mark.parametrize("order", [("b1", "b2"), ("b2", "b1")])
def test_a_window_is_shared_by_one_table_where_the_key_changes_at_noon(order):
    world = World()
    world.run("m", steady(0, 600))
    world.run("air", steady(0, 600, rate=2))
    world.batch("b1", 110, 150)
    world.batch("b2", 170, 190, product="q")
    later = copy.deepcopy(PLANT)
    later["policy"] = {**later["policy"], "key": "good_mass"}
    world.state("registry", "plant_model", "x", later, start=160 * S)
    engine = world.engine()
    found = {name: engine.batch(name) for name in order}
    shared = {n: next(s.corrected for s in found[n].sources if s.source == "air") for n in found}
    assert shared == {"b1": 10, "b2": 10}
