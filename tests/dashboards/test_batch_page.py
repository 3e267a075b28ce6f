"""The page of a batch: every number leads to what it rests on, and the twins say the same."""

from __future__ import annotations

import csv
import io
import json
import time
from fractions import Fraction
from urllib.parse import quote

import pytest

from dashboards.charts import bars, legend
from dashboards.code_words import component, lack, wait
from dashboards.provenance import runs_of
from footprint.batch import BatchResult, BatchState, Part, SourceResult
from footprint.bundle import needs_of
from footprint.stated_batches import Batch
from footprint.verify import main as verify
from mrv.measurement.uncertainty import Components
from mrv.reporting.completeness import ChainLink
from tests.dashboards.asking import anchors, get, get_bytes, ids, settled


def result(parts, burden=2):
    amount = sum((value for _, value in parts), Fraction(0))
    source = SourceResult(
        source="s",
        instrument="i",
        register="r",
        unit="kWh",
        metered=amount,
        corrected=amount,
        parts=parts,
        factor="f",
        factor_value=Fraction(1),
        factor_unit="kgCO2e/kWh",
        factor_reason="valid",
        factor_default_u=False,
        burden=Fraction(burden),
        components=Components(),
        activity_components=Components(),
        tier="B",
        certificate="",
        certificate_state="missing",
    )
    batch = Batch("b", "l", "p", 0, 10, good=10**6)
    return BatchResult(batch, "piece", "gate_to_gate", BatchState.FINAL, (), (), (source,), (), "")


def test_a_bar_is_as_long_as_its_parts_and_nobodys_share_does_not_look_idle():
    found = result(
        ((Part.DIRECT, Fraction(6)), (Part.IDLE, Fraction(3)), (Part.UNATTRIBUTED, Fraction(1)))
    )
    (bar,) = bars(found, str)
    assert [p.width for p in bar.pieces] == [600.0, 300.0, 100.0]
    assert [p.x for p in bar.pieces] == [0.0, 600.0, 900.0]
    assert len({p.css for p in bar.pieces}) == 3
    assert [words for _, words in legend(found, str)] == ["direct", "idle", "unattributed"]
    assert bars(result(((Part.DIRECT, Fraction(0)),), burden=0), str) == []


def link(seq, epoch="e"):
    return ChainLink("a", "s", epoch, seq, f"{epoch}{seq}", "", seq, seq + 1, trusted=True)


def indexes(epoch, first, last):
    """Number 2 of epoch e was cut twice; epoch f is not in the journal."""
    held = {1: [7], 2: [8, 9]} if epoch == ("a", "s", "e") else {}
    return {seq: at for seq, at in held.items() if first <= seq <= last}


def test_a_run_has_no_hole():
    runs = runs_of([link(4), link(2), link(1), link(1, "f")], indexes, {"e2": 9}.get)
    shape = [(r.links[0].epoch, r.links[0].seq, r.links[-1].seq, r.indices) for r in runs]
    assert shape == [("e", 1, 2, (7, 9)), ("f", 1, 1, (None,)), ("e", 4, 4, (None,))]
    row = runs[0].summary().to_json()
    assert (row["envelopes"], row["first_index"], row["last_identity"]) == (2, 7, "e2")


class Words:
    """A page that gives codes back."""

    def has_instrument(self, name):
        return False

    def meters(self, asked, anchor):
        return f"/meters#{quote(anchor, safe='')}"

    def code(self, family, name):
        return f"{family} {name}"

    def source(self, name):
        return name

    def moment(self, at):
        return f"t{at}"


def test_codes_lead_to_what_they_speak_of():
    page = Words()
    assert component(page, "factor:a/b").link == "#factor-a%2Fb"
    assert component(page, "mpe:JD 1").link == "/meters#cert-JD%201"
    assert component(page, "cal:JZ:1:common").link == "/meters#cert-JZ%3A1"
    assert component(page, "res:m.e:b").link == "/meters#m"
    assert component(page, "gap:m.e:5").subject == "m.e t5"
    assert wait(page, "pool:5").subject == "t5"
    assert wait(page, "batch_end").subject == ""
    assert wait(page, "not_passed:m.e").link == "/meters#m"
    assert lack(page, "no_factor:gas").subject == "gas"


@pytest.mark.slow
@pytest.mark.broker
def test_every_link_of_a_batch_leads_somewhere(plant):
    _, url = plant
    name = settled(plant)
    page, meters, words = (get(f"{url}{p}") for p in (f"batches/{name}", "meters", "help"))
    assert anchors(page) - ids(page) == set()
    assert anchors(page, "/meters#") - ids(meters) == set()
    assert anchors(page, "/help#") - ids(words) == set()
    assert anchors(meters) - ids(meters) == set()
    value = json.loads(get(f"{url}api/v1/batches/{name}"))
    for source in value["sources"]:
        assert f"factor-{source['factor']}" in anchors(page)
        assert f"cert-{source['certificate']}" in anchors(page, "/meters#") or (
            not source["certificate"]
        )
        assert source["instrument"] in anchors(page, "/meters#")


@pytest.mark.slow
@pytest.mark.broker
def test_the_twins_of_a_batch_carry_factors_and_envelopes(plant):
    demo, url = plant
    name = settled(plant)
    value = json.loads(get(f"{url}api/v1/batches/{name}"))
    rows = list(csv.DictReader(io.StringIO(get(f"{url}api/v1/batches/{name}.csv"))))
    assert [r["source"] for r in rows] == [s["source"] for s in value["sources"]]
    for row in rows:
        parts = sum(Fraction(row[f"part_{part}"]) for part in Part)
        assert parts == Fraction(row["corrected"])
        assert row["factor_source"]
        assert row["factor_uncertainty_pct"]
    assert {f["id"] for f in value["factors"]} == {r["factor"] for r in rows}
    assert all(f["row"]["value"] and f["reason"] for f in value["factors"])
    papers = {c["certificate"] for c in value["certificates"]}
    assert papers == {r["certificate"] for r in rows if r["certificate"]}
    needs = needs_of(demo.site.engine.engine, name)
    listed = json.loads(get(f"{url}api/v1/batches/{name}/envelopes"))
    assert {row["identity"] for row in listed} == {link.identity for link in needs.links}
    assert sum(run["envelopes"] for run in value["evidence"]["runs"]) == len(listed)
    some = listed[0]
    entry = json.loads(get(f"{url}api/v1/journal/{some['index']}"))
    assert (entry["kind"], entry["identity"]) == ("envelope", some["identity"])
    assert f'"seq":{some["seq"]}' in entry["note"]
    page = get(f"{url}batches/{name}")
    assert all(run["first_identity"] in page for run in value["evidence"]["runs"])


@pytest.mark.slow
@pytest.mark.broker
def test_the_bundle_of_the_page_verifies(plant, tmp_path, capsys):
    demo, url = plant
    name = settled(plant)
    file = tmp_path / "batch.zip"
    file.write_bytes(get_bytes(f"{url}api/v1/batches/{name}/bundle"))
    assert verify([str(file), "--trust", demo.site.keyring.root.public.vkey]) == 0
    assert name in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.broker
def test_components_that_are_not_shown_are_counted_and_summed(plant):
    _, url = plant
    name = settled(plant)
    page = get(f"{url}batches/{name}?lang=en")
    budget = json.loads(get(f"{url}api/v1/batches/{name}"))["uncertainty_budget"]
    assert len(budget) > 8
    assert f"and {len(budget) - 8} more: u = " in page
    for row in budget:
        assert row["component"].partition(":")[2].partition(":")[0] in page


@pytest.mark.slow
@pytest.mark.broker
def test_a_share_that_is_still_to_come_is_not_shown_as_nothing(plant):
    _, url = plant
    for _ in range(100):
        rows = json.loads(get(f"{url}api/v1/batches"))
        name = next((row["batch"] for row in rows if row["end"] is None), None)
        if name is not None:
            page = get(f"{url}batches/{name}?lang=en")
            if "the end of the batch" in page:
                break
        time.sleep(0.2)
    row = page[page.index('id="source-compressor"') :].partition("</tr>")[0]
    assert "shared out later" in row
    assert ">–</td>" in row
