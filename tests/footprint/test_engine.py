"""The engine on small plants: curves, exchanges, pools, closure, order of arrival."""

from __future__ import annotations

import copy
import math
import random
from fractions import Fraction

import pytest

from footprint.allocation import largest_remainder, spread
from footprint.batch import BatchState
from footprint.catalogue import Catalogue, FactorError, FactorRequest
from footprint.conservation import books
from footprint.engine import Engine
from footprint.exact import decimal_text, quotient_text
from footprint.factor import factor_from_row, read_rows
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge
from footprint.plant_reading import read_plant
from footprint.selection import selection
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable
from mrv.column import Column
from mrv.envelope import Clock, ClockState, Envelope, Event, Head
from mrv.errors import MeterprintError
from mrv.fact import Fact, FactHeader
from tests.faults.drilled_site import FACTOR

S = 10**9
PLANT = {
    "site": "x",
    "policy": {"pool_window_s": "100", "changeover_s": "50", "gap_s": "1000"},
    "lines": [{"id": "l"}, {"id": "k"}],
    "products": [
        {"id": "p", "unit": "piece", "mass_kg": "1"},
        {"id": "q", "unit": "piece", "mass_kg": "2"},
    ],
    "instruments": [
        {
            "id": name,
            "mpe_percent": "1",
            "registers": [{"id": "e", "kind": "counter", "unit": "kWh", "resolution": "0.1"}],
        }
        for name in ("m", "air")
    ],
    "sources": [
        {"id": "m", "line": "l", "instrument": "m", "register": "e", "factor": {"id": "f"}},
        {
            "id": "air",
            "lines": ["l", "k"],
            "instrument": "air",
            "register": "e",
            "factor": {"id": "f"},
        },
    ],
}


def table_of(
    agent, names=("m", "air"), resolution="1/10", ratio="1", tier=AssuranceTier.AGENT_SIGNED
):
    """The channel table of an agent that reads counters, each in a stream of its own."""
    return ChannelTable(
        "x",
        agent,
        tuple(
            Channel(
                f"{name}.e",
                ChannelKind.COUNTER,
                name,
                name,
                "e",
                Fraction(resolution),
                "kWh",
                Fraction(ratio),
                "",
                tier,
                stream=name,
            )
            for name in names
        ),
    )


class World:
    """Facts and envelopes of a small site, in any order."""

    def __init__(self, plant=PLANT):
        self.facts = []
        self.envelopes = []
        self.state("registry", "plant_model", "x", plant, start=0)
        self.state("registry", "factor_set", "s", {"rows": [FACTOR]})
        self.tables = [("cfg", table_of("a"))]

    def state(self, chain, kind, subject, body, start=None, end=None):
        seq = sum(1 for f in self.facts if f.header.chain == chain)
        header = FactHeader("x", chain, kind, seq, "", start, end, None, "t", "", "")
        self.facts.append(Fact(header, f"{chain}{seq}", subject, body))

    def batch(self, name, start, end, good="10", product="p", line="l"):
        chain = f"production/{line}"
        self.state(chain, "batch_started", name, {"product": product}, start * S)
        if end is not None:
            self.state(chain, "batch_ended", name, {"good": good}, end * S)

    def run(self, name, samples, agent="a", cfg="cfg"):
        """Readings (s, counts) of a meter, an envelope each; a second run follows the first."""
        held = [(i, e) for i, e in self.envelopes if (e.agent, e.stream) == (agent, name)]
        after = Head(held[-1][1].epoch, held[-1][1].seq, held[-1][0]) if held else None
        epoch = f"{name}{len(held)}" if held else name
        prev = ""
        for seq, (t, v) in enumerate(samples):
            column = Column(f"{name}.e", t * S, [0], [v], [""])
            clock = Clock(ClockState.SYNCHRONISED, 1, "t")
            head = after if seq == 0 else None
            envelope = Envelope(
                "x", agent, name, epoch, seq, prev, t * S, 0, "", clock, cfg, (column,), head
            )
            prev = f"{epoch}-{seq}" if agent == "a" else f"{agent}-{epoch}-{seq}"
            self.envelopes.append((prev, envelope))

    def engine(self, order=None):
        readings = MemoryReadings()
        envelopes = list(self.envelopes)
        if order is not None:
            random.Random(order).shuffle(envelopes)
        for identity, table in self.tables:
            readings.add_table(identity, table)
        for identity, envelope in envelopes:
            readings.add_envelope(identity, envelope)
        return Engine(Knowledge(self.facts), readings)


def steady(start, end, step=10, rate=1):
    return [(t, rate * t) for t in range(start, end + 1, step)]


def simple():
    world = World()
    world.run("m", steady(0, 600))
    world.run("air", steady(0, 600, rate=2))
    world.batch("b1", 100, 190)
    world.batch("b2", 200, 300, product="q")
    return world


def test_a_batch_gets_its_own_its_changeover_and_its_share_of_the_common():
    engine = simple().engine()
    first, second = engine.batch("b1"), engine.batch("b2")
    assert first.state is BatchState.FINAL
    by_source = {s.source: {p.value: v for p, v in s.parts} for s in second.sources}
    assert by_source["m"]["direct"] == Fraction(10)
    assert by_source["m"]["changeover"] == Fraction(1)
    shares = {s.source: s.corrected for r in (first, second) for s in r.sources}
    assert shares["air"] == 20
    assert first.footprint == (Fraction(9) + 20) / 2
    assert all(book.residual == 0 for book in books(engine))


def test_no_result_depends_on_the_order_of_arrival():
    world = simple()
    digests = {world.engine(order).batch("b2").digest() for order in range(6)}
    assert len(digests) == 1


def test_a_batch_waits_until_its_streams_have_passed_and_says_for_what():
    world = World()
    world.run("m", steady(0, 250))
    world.run("air", steady(0, 150))
    world.batch("b1", 100, 190)
    result = world.engine().batch("b1")
    assert result.state is BatchState.PROVISIONAL
    assert any(w.startswith("not_passed:air") for w in result.waits)


def test_a_missing_envelope_keeps_the_batch_open_until_a_fact_closes_the_chain():
    world = simple()
    world.envelopes = [e for e in world.envelopes if e[0] != "m-15"]
    result = world.engine().batch("b1")
    assert any(w.startswith("chain_gap:m") for w in result.waits)
    world.state("registry", "chain_closed", "a/m", {"agent": "a", "stream": "m"}, 0, 900 * S)
    assert world.engine().batch("b1").state is BatchState.FINAL_ESTIMATED


def dead_meter(gap_end):
    """A meter that answers until 150 s; its agent goes on, and states the gap up to `gap_end`."""
    world = World()
    world.run("m", steady(0, 150))
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    clock = Clock(ClockState.SYNCHRONISED, 1, "t")
    event = Event("gap", 160 * S, gap_end * S, "m.e", "timeout")
    failed = Column("m.e", 160 * S, [0, 40 * S], [None, None], ["timeout", "timeout"])
    envelope = Envelope(
        "x", "a", "m", "e", 16, "m-15", 400 * S, 0, "", clock, "cfg", (failed,), ev=(event,)
    )
    world.envelopes.append(("m-16", envelope))
    return world


def test_a_signed_gap_over_the_end_closes_a_batch_as_estimated():
    open_batch = dead_meter(gap_end=170).engine().batch("b1")
    assert open_batch.state is BatchState.PROVISIONAL
    assert "not_passed:m.e" in open_batch.waits
    closed = dead_meter(gap_end=320).engine().batch("b1")
    assert closed.state is BatchState.FINAL_ESTIMATED
    reasons = {dict(f.numbers).get("reason") for f in closed.findings}
    assert "signed_gap" in reasons


def test_a_gap_does_not_vouch_for_envelopes_before_it():
    world = dead_meter(gap_end=320)
    world.envelopes = [e for e in world.envelopes if e[0] != "m-14"]
    assert world.engine().batch("b1").state is BatchState.PROVISIONAL


def test_a_batch_that_never_ends_stays_provisional_and_shows_its_figure():
    world = simple()
    world.batch("b3", 400, None)
    result = world.engine().batch("b3")
    assert "batch_end" in result.waits
    assert result.footprint > 0
    open_book = {b.subject: b for b in books(world.engine())}["m/e"]
    assert dict(zip(("batches", "open"), open_book.shares[:2], strict=True))["open"] > 0
    assert open_book.residual == 0


def test_time_two_batches_claim_is_nobodys_and_is_shared():
    world = World()
    world.run("m", steady(0, 600))
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 200)
    world.batch("b2", 150, 250)
    engine = world.engine()
    book = {b.subject: b for b in books(engine)}["m/e"]
    assert book.shares[4] == 5
    assert book.residual == 0
    total = sum(s.corrected for n in ("b1", "b2") for s in engine.batch(n).sources)
    assert total > 0


def test_an_exchange_is_a_closing_and_an_opening_reading():
    world = World()
    world.run("m", [(0, 0), (100, 1000), (200, 50), (600, 450)])
    world.run("air", steady(0, 600))
    world.batch("b1", 0, 400)
    body = {"closing": {"e": "1200"}, "opening": {"e": "0"}}
    world.state("registry", "instrument_exchanged", "m", body, 150 * S)
    result = world.engine().batch("b1")
    metered = next(s for s in result.sources if s.source == "m")
    assert {p.value: v for p, v in metered.parts}["direct"] == Fraction(1200 + 250, 10)
    assert "reset" not in {f.rule for f in result.findings}


def test_a_plant_changed_at_noon_leaves_the_morning_alone():
    world = simple()
    before = world.engine().batch("b1").digest()
    changed = copy.deepcopy(PLANT)
    changed["instruments"][0]["ratio"] = "40"
    world.state("registry", "plant_model", "x", changed, start=195 * S)
    engine = world.engine()
    assert engine.batch("b1").digest() == before
    direct = next(s for s in engine.batch("b2").sources if s.source == "m")
    assert direct.corrected > 300


def test_a_calibration_corrects_once_approved_and_a_verification_never():
    world = simple()
    points = [{"load": "10", "error_percent": "1", "expanded_percent": "0.2", "k": "2"}]
    body = {"kind": "calibration", "instrument": "m", "points": points}
    world.state("registry", "certificate_recorded", "C1", body, 0)

    def source():
        return next(s for s in world.engine().batch("b1").sources if s.source == "m")

    assert source().corrected == source().metered == 9
    world.state("registry", "certificate_approved", "C1", {})
    assert source().corrected == 9 * Fraction(10**6 - 9901, 10**6)
    assert source().metered == 9
    world.state("registry", "certificate_revoked", "C1", {}, 0)
    assert source().corrected == 9
    assert source().certificate_state == "revoked"


def test_an_unmapped_source_makes_the_footprint_incomplete_never_zero():
    plant = copy.deepcopy(PLANT)
    del plant["sources"][1]["factor"]
    world = World(plant)
    world.run("m", steady(0, 600))
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    assert world.engine().batch("b1").incomplete == ("no_factor:air",)


def test_a_ratio_the_agent_was_told_otherwise_is_a_finding():
    plant = copy.deepcopy(PLANT)
    plant["instruments"][0]["ratio"] = "40"
    world = World(plant)
    world.run("m", steady(0, 600))
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    engine = world.engine()
    engine.batch("b1")
    assert "ratio_differs" in {f.rule for f in engine.meter_findings()}


def test_a_product_over_a_period_keeps_shared_errors_whole():
    engine = simple().engine()
    results = [engine.batch("b1"), engine.batch("b2")]
    results[1] = type(results[1])(
        **{
            **{f: getattr(results[1], f) for f in results[1].__slots__},
            "batch": type(results[1].batch)(
                **{
                    **{f: getattr(results[1].batch, f) for f in results[1].batch.__slots__},
                    "product": "p",
                }
            ),
        }
    )
    both = selection({"x": results}, "p", 0, 10**18)
    factor = [abs(r.components["factor:f"]) for r in results]
    assert both.components["factor:f"] == pytest.approx(sum(factor))
    assert both.footprint == sum(r.footprint for r in results)


def test_sites_share_what_their_factors_are_off_by_and_nothing_of_their_instruments():
    result = simple().engine().batch("b1")
    one = selection({"x": [result]}, "p", 0, 10**18)
    two = selection({"x": [result], "y": [result]}, "p", 0, 10**18)
    assert two.sites == ("x", "y")
    assert (two.footprint, two.good) == (2 * one.footprint, 2 * one.good)
    factor = result.components["factor:f"]
    rest = math.sqrt(sum(v * v for s, v in result.components.items() if s != "factor:f"))
    assert rest > 0
    assert two.components.u == pytest.approx(math.hypot(2 * factor, math.sqrt(2) * rest))
    assert two.to_json()["sites"] == ["x", "y"]


def test_the_catalogue_chooses_exactly_one_and_says_why(shared):
    path = shared / "reference" / "factors" / "factors.csv"
    rows, errors = read_rows(path.read_text(), "factors.csv")
    assert (len(rows), errors) == (402, [])
    catalogue = Catalogue(map(factor_from_row, rows))
    late = 1_795_000_000 * S
    with pytest.raises(FactorError, match="fit"):
        catalogue.choose(FactorRequest("electricity_cfp", "CN"), late)
    request = FactorRequest("electricity_cfp", "CN", "ele.cfp.CN.avg")
    choice = catalogue.choose(request, late)
    assert (choice.factor.id, choice.reason) == ("ele.cfp.CN.avg.2024", "carried_forward")
    assert choice.uncertainty_default
    assert not choice.overdue
    assert catalogue.choose(request, late + 400 * 86_400 * S).overdue
    last_day = 1_735_646_400 * S
    assert catalogue.choose(request, last_day).reason == "valid"
    assert catalogue.choose(request, last_day + 86_400 * S).carried_forward
    unverified = [f for f in catalogue.factors() if f.unverified]
    assert len(unverified) == 23
    assert catalogue.choose(FactorRequest(id=unverified[0].id), late).reason == "by_id"


def test_a_broken_factor_row_is_named_and_the_others_are_kept():
    header = ",".join(FACTOR)
    good = ",".join(FACTOR.values())
    text = f"{header}\n{good}\n{good.replace('0.5', 'nan?')}\n"
    rows, errors = read_rows(text, "f.csv")
    assert len(rows) == 1
    assert (errors[0].file, errors[0].line, errors[0].field) == ("f.csv", 3, "value")


def test_shares_add_up_and_ties_go_by_name():
    assert largest_remainder(10, {"b": 1, "a": 1, "c": 1}) == {"b": 3, "a": 4, "c": 3}
    assert sum(spread(100, 0, 7, i, i + 1) for i in range(7)) == 100
    with pytest.raises(MeterprintError):
        largest_remainder(1, {"a": 0})


def test_numbers_leave_exact_or_at_fifteen_digits():
    assert decimal_text(Fraction(1, 8)) == "0.125"
    assert decimal_text(Fraction(10**20)) == "1" + "0" * 20
    assert quotient_text(Fraction(2), Fraction(3)) == "0.666666666666667"
    assert quotient_text(Fraction(1), Fraction(0)) is None


def test_every_fault_of_a_plant_is_found_with_its_path():
    broken = copy.deepcopy(PLANT)
    broken["sources"][0]["instrument"] = "nobody"
    broken["instruments"][0]["registers"][0]["unit"] = "kWx"
    broken["polcy"] = {}
    _, faults = read_plant(broken)
    assert {f.field for f in faults} == {
        "polcy",
        "instruments[0].registers[0].unit",
        "sources[0].instrument",
    }
    assert next(f for f in faults if f.field == "polcy").hint == "did you mean policy?"


def test_what_a_counter_does_in_idle_time_is_found_too():
    world = World()
    samples = [(t, v if t < 400 else v - 395) for t, v in steady(0, 600)]
    world.run("m", samples)
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    engine = world.engine()
    found = {b.subject: {f.rule for f in b.findings} for b in books(engine)}
    assert found["m/e"] == {"reset"}
    assert "reset" not in {f.rule for f in engine.batch("b1").findings}


def test_an_exchange_is_a_finding_with_its_registers():
    world = World()
    world.run("m", [(0, 0), (100, 1000), (200, 50), (600, 450)])
    world.run("air", steady(0, 600))
    world.batch("b1", 0, 400)
    body = {"closing": {"e": "1200"}, "opening": {"e": "0"}, "ratio": "40"}
    world.state("registry", "instrument_exchanged", "m", body, 150 * S)
    engine = world.engine()
    found = [f for f in engine.batch("b1").findings if f.rule == "exchange"]
    assert found == [f for f in engine.knowledge.registry_findings() if f.rule == "exchange"]
    assert found[0].numbers == (("closing_e", "1200"), ("opening_e", "0"), ("ratio", "40"))
    assert found[0].at == 150 * S


def test_envelopes_after_later_ones_are_late_and_count_the_same():
    world = simple()
    held = list(world.envelopes)
    world.envelopes = [e for e in held if e[0] != "m-12"] + [e for e in held if e[0] == "m-12"]
    engine = world.engine()
    chain = engine.readings.chain("a", "m")
    assert (chain.late, chain.late_since) == (1, chain.link("m-12").t_first)
    assert engine.batch("b1").digest() == simple().engine().batch("b1").digest()


def test_a_counter_that_stands_still_while_something_is_made_is_found():
    world = World()
    world.run("m", [(t, 7) for t, _ in steady(0, 600)])
    world.run("air", steady(0, 600))
    world.batch("b1", 100, 190)
    assert "stands_still" in {f.rule for f in world.engine().batch("b1").findings}
    assert "stands_still" not in {f.rule for f in simple().engine().batch("b1").findings}
