"""Bad input at a whole site: each has a named outcome, and nothing that came in is lost."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest

from footprint.batch import BatchState
from footprint.conservation import books
from meterprint.plant_file import PlantFile, check_plant
from mrv.channel import AssuranceTier
from mrv.errors import InputError
from mrv.fact import REGISTRY
from mrv.verification.note import SecretKey
from tests.faults.drilled_site import FACTOR
from tests.footprint.test_engine import steady
from tests.path.small_site import S, SmallSite


@pytest.fixture
def site(tmp_path):
    made = SmallSite(tmp_path)
    made.run("air", steady(0, 900, rate=2))
    yield made
    made.close()


def rules(site):
    site.site.refresh()
    return {f.rule: f for f in site.site.engine.findings()}


def direct(result, source="m"):
    return next(dict(s.parts).get("direct", 0) for s in result.sources if s.source == source)


def kept(site, readings):
    """Every reading is in the journal and its leaves still give the root."""
    site.site.refresh()
    assert site.site.engine.reading_count == readings
    assert site.site.journal.verify() == []
    assert all(book.residual == 0 for book in books(site.site.engine.engine))


def test_a_counter_that_runs_back_is_withheld_and_found(site):
    site.run("m", [(t, v + (100_000 if t < 150 else 90_000)) for t, v in steady(0, 900)])
    site.batch("b1", 100, 190)
    result = site.result("b1")
    found = rules(site)["backward"]
    assert dict(found.numbers)["withheld_counts"] == "-9990"
    assert direct(result) == 8
    assert result.state is BatchState.FINAL
    kept(site, 2 * 91)


def test_a_dip_that_recovers_is_left_out_and_found(site):
    site.run("m", [(t, 0 if t == 150 else v + 100) for t, v in steady(0, 900)])
    site.batch("b1", 100, 190)
    assert direct(site.result("b1")) == 9
    assert "dip" in rules(site)
    kept(site, 2 * 91)


def test_an_agent_told_of_another_ratio_is_found_and_the_plants_ratio_counts(site):
    cfg = site.table(ratio="40")
    site.run("m", steady(0, 900), cfg=cfg)
    site.batch("b1", 100, 190)
    assert direct(site.result("b1")) == 9
    found = rules(site)["ratio_differs"]
    assert dict(found.numbers) == {"installed": "1", "agent": "40"}
    kept(site, 2 * 91)


def test_a_current_transformer_changed_by_an_exchange_counts_from_that_moment_on(site):
    site.run("m", steady(0, 900))
    site.batch("b1", 100, 190)
    site.batch("b2", 200, 290)
    before = site.result("b1").digest()
    body = {"closing": {"e": "195"}, "opening": {"e": "195"}, "ratio": "40"}
    site.site.facts.record(
        REGISTRY, "instrument_exchanged", "m", body, author="t", valid_from=200 * S
    )
    assert direct(site.result("b2")) == 360
    assert direct(site.result("b1")) == 9
    assert before
    assert "exchange" in rules(site)
    kept(site, 2 * 91)


def test_a_second_agent_on_the_same_meter_is_a_check_and_nothing_counts_twice(site):
    site.run("m", steady(0, 900))
    site.batch("b1", 100, 190)
    before = site.result("b1").digest()
    other = SecretKey.generate("agent-2")
    site.site.enrol_agent(other.public)
    cfg = site.table(key=other)
    site.run("m", [(t, v + 7) for t, v in steady(0, 900)], key=other, cfg=cfg)
    assert site.result("b1").digest() == before
    assert dict(rules(site)["second_channel"].numbers)["authoritative"] == "agent-1"
    kept(site, 3 * 91)


def test_a_batch_that_never_ends_waits_and_its_activity_is_open(site):
    site.run("m", steady(0, 900))
    site.batch("b1", 100, None)
    result = site.result("b1")
    assert result.state is BatchState.PROVISIONAL
    assert "batch_end" in result.waits
    assert result.footprint > 0
    book = next(b for b in site.site.engine.books() if b.subject == "m/e")
    assert dict(zip(("batches", "open"), book.shares[:2], strict=True)) == {
        "batches": 0,
        "open": 80,
    }
    kept(site, 2 * 91)


def test_a_certificate_that_has_expired_corrects_no_more_and_is_found(site):
    site.run("m", steady(0, 900))
    points = [{"load": "10", "error_percent": "1", "expanded_percent": "0.2"}]
    body = {"kind": "calibration", "instrument": "m", "points": points}
    site.site.facts.record(
        *(REGISTRY, "certificate_recorded", "C1", body),
        author="t",
        valid_from=0,
        valid_to=195 * S,
    )
    site.site.facts.record(REGISTRY, "certificate_approved", "C1", {"by": "x"}, author="x")
    site.batch("b1", 100, 190)
    site.batch("b2", 200, 290)
    ours = {n: next(s for s in site.result(n).sources if s.source == "m") for n in ("b1", "b2")}
    assert (ours["b1"].certificate, ours["b1"].certificate_state) == ("C1", "valid")
    assert (ours["b2"].certificate, ours["b2"].certificate_state) == ("", "expired")
    first, second = (dict(ours[n].parts)["direct"] for n in ("b1", "b2"))
    assert (first < 9, second) == (True, 9)
    assert ours["b1"].metered > ours["b1"].corrected
    assert "certificate_expired" in rules(site)
    kept(site, 2 * 91)


def test_a_certificate_recorded_again_needs_its_approval_again(site):
    site.run("m", steady(0, 900))
    site.batch("b1", 100, 190)
    points = [{"load": "10", "error_percent": "1", "expanded_percent": "0.2"}]
    body = {"kind": "calibration", "instrument": "m", "points": points}

    def state():
        return next(s for s in site.result("b1").sources if s.source == "m").certificate_state

    record = site.site.facts.record
    record(REGISTRY, "certificate_recorded", "C1", body, author="t", valid_from=0)
    assert state() == "unapproved"
    record(REGISTRY, "certificate_approved", "C1", {"by": "x"}, author="x")
    assert state() == "valid"
    points[0]["error_percent"] = "-3"
    record(REGISTRY, "certificate_recorded", "C1", body, author="t", valid_from=0)
    assert state() == "unapproved"


def test_a_plant_file_changed_at_noon_leaves_the_mornings_figure_to_the_last_digit(site):
    site.run("m", steady(0, 900))
    site.batch("morning", 100, 190)
    site.batch("noon", 210, 290)
    before = site.result("morning").digest()
    later = copy.deepcopy(site.tree)
    later["instruments"][0]["ratio"] = "40"
    later["policy"] |= {"changeover_s": "10", "mpe_rule": "mpe_over_2"}
    later["sources"][1]["outside"] = "not ours any more"
    file = PlantFile(site.folder, None, later, (("f.csv", (FACTOR,)),), ())
    site.site.engine.catch_up()
    from footprint.plant_reading import read_plant

    model, faults = read_plant(later)
    assert not faults
    assert site.site.state_plant(PlantFile(file.path, model, file.tree, file.factors, ()), 205 * S)
    assert site.result("morning").digest() == before
    assert direct(site.result("noon")) == 320
    assert {s.source for s in site.result("noon").sources} == {"m"}
    kept(site, 2 * 91)


def test_late_readings_of_an_import_make_a_new_revision_and_never_an_edit(tmp_path):
    site = SmallSite(tmp_path, tier=AssuranceTier.MAPPED)
    site.run("air", steady(0, 900))
    site.run("m", [(0, 0), (100, 100), (200, 140), (900, 840)])
    site.batch("b1", 100, 190)
    first = site.result("b1")
    assert (first.state, direct(first)) == (BatchState.CLOSED, Fraction(36, 10))
    site.run("m", [(190, 110)])
    second = site.result("b1")
    assert (second.state, direct(second)) == (BatchState.CLOSED, 1)
    history = site.site.engine.results.revisions("b1")
    assert [revision.digest for revision in history] == [first.digest(), second.digest()]
    assert history[0].index < history[1].index
    assert "late" in rules(site)
    kept(site, 91 + 5)
    site.close()


def test_late_and_corrected_batch_events_count_and_the_wrong_ones_stay_in_the_journal(site):
    site.run("m", steady(0, 900))
    site.batch("b1", 100, 190, good="10")
    before = site.result("b1").per_unit
    site.event("l", "b1", 190, event="end", good="20", supersedes="1")
    after = site.result("b1")
    assert after.good == 20
    assert Fraction(after.per_unit) < Fraction(before)
    facts = site.site.engine.engine.knowledge.chains["production/l"]
    assert [f.body.get("good") for f in facts] == [None, "10", "20"]
    with pytest.raises(InputError, match="there is no #9"):
        site.event("l", "b1", 190, event="end", good="5", supersedes=9)
    with pytest.raises(InputError, match="runs on line l"):
        site.event("k", "b1", 300, event="start", product="p")
    kept(site, 2 * 91)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"good": "NaN"}, "good"),
        ({"good": "inf"}, "good"),
        ({"good": "-1"}, "good"),
        ({"t": "noon"}, "t"),
        ({"t": "2026-01-01T00:00:00"}, "t"),
        ({"event": "stop"}, "event"),
        ({"line": "nine"}, "line"),
        ({"color": "red"}, "color"),
        ({"supersedes": "first"}, "supersedes"),
        ({"event": "declare", "source": "r", "quantity": "NaN", "unit": "kg"}, "quantity"),
        ({"event": "declare", "source": "r", "quantity": "1", "unit": "jug"}, "unit"),
        ({"event": "declare", "quantity": "1", "unit": "kg"}, "source"),
        ({"event": "start"}, "product"),
    ],
)
def test_a_batch_event_that_is_wrong_names_its_field_and_states_nothing(site, change, field):
    body = {"id": "e", "line": "l", "batch": "b", "event": "end", "good": "1", "t": "5"}
    size = site.site.journal.size
    with pytest.raises(InputError) as caught:
        site.site.events.take({**body, **change}, "test")
    assert caught.value.field == field
    assert site.site.journal.size == size


def test_a_table_of_events_names_the_line_of_each_broken_row_and_takes_the_others(site):
    table = (
        "id,line,batch,product,event,good,scrap,t,supersedes,source,quantity,unit\n"
        "1,l,b1,p,start,,,2026-01-01T00:00:00Z,,,,\n"
        "2,l,b1,,end,ten,,2026-01-01T01:00:00Z,,,,\n"
        "3,l,b1,,end,10,,2026-01-01T01:00:00Z,,,,\n"
        "4,l,b1,,end,12,,2026-01-01T01:00:00Z,1,,,\n"
        "5,l,b1,,declare,,,2026-01-01T01:00:00Z,,r,1.5,kg\n"
        "6,l,b1,,end,1,,2026-01-01T01:00:00Z,,,,,,,too,many\n"
    )
    taken, errors = site.site.events.take_csv(table, "events.csv", "test")
    assert taken == 4
    assert [(e.file, e.line, e.field) for e in errors] == [
        ("events.csv", 3, "good"),
        ("events.csv", 7, ""),
    ]
    assert site.site.events.take_csv(table, "events.csv", "test")[0] == 4
    assert site.site.journal.chain_length("production/l")[0] == 4


def test_a_yaml_typo_a_broken_bill_and_a_broken_factor_row_are_named_with_file_and_line(tmp_path):
    (tmp_path / "f.csv").write_text(",".join(FACTOR) + "\n" + ",".join(FACTOR.values()) + "\nx\n")
    (tmp_path / "bom.csv").write_text("material,quantity,unit\nsteel,1,kg\nglue,lots,kg\n")
    path = tmp_path / "plant.yaml"
    path.write_text(
        "site: s\nfactors: [f.csv]\nlines:\n  - id: l\nproducts:\n"
        "  - {id: p, unit: piece, bill: bom.csv}\npolcy: {}\n"
    )
    _, faults = check_plant(path)
    seen = {(f.file.rpartition("/")[2], f.line, f.field) for f in faults}
    assert {("plant.yaml", 7, "polcy"), ("bom.csv", 3, "quantity")} <= seen
    assert any(file == "f.csv" and line == 3 for file, line, _ in seen)
    path.write_text("site: s\nlines:\n\t- id: l\n")
    _, faults = check_plant(path)
    assert faults[0].line == 3
