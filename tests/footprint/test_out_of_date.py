"""What stands of a figure while an instrument says something else is what computing it anew gives."""

from __future__ import annotations

import os
import random
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from footprint.batch import BatchState
from footprint.engine import Engine
from footprint.out_of_date import NOTHING, OutOfDate, standing
from footprint.restatement import restated
from mrv.finding import Finding, Severity
from tests.faults.drilled_site import FACTOR
from tests.footprint.test_laws import SPAN, S, world_of

EXAMPLES = int(os.environ.get("METERPRINT_STANDING", "60"))


def stated_later(draw, world):
    """A factor, a certificate, its end or an exchange of either meter."""
    name, at = draw.choice(("m", "air")), draw.randrange(0, SPAN) * S
    kind = draw.random()
    if kind < 0.3:
        row = {**FACTOR, "value": draw.choice(("0.3", "0.9"))}
        world.state("registry", "factor_set", "t", {"rows": [row]})
    if kind < 0.2:
        pass
    elif kind < 0.7:
        points = [{"load": "1000", "error_percent": "0.5", "expanded_percent": "1"}]
        body = {"kind": "calibration", "instrument": name, "points": points}
        world.state("registry", "certificate_recorded", "later", body, at)
        world.state("registry", "certificate_approved", "later", {})
    elif kind < 0.85:
        world.state("registry", "certificate_revoked", "c0", {}, at)
    else:
        body = {"closing": {"e": "5"}, "opening": {"e": "0"}, "serial": "z"}
        world.state("registry", "instrument_exchanged", name, body, at)


@settings(max_examples=EXAMPLES, deadline=None)
@example(11)
@given(st.integers(0, 10**9))
def test_what_stands_is_what_computing_it_anew_gives(seed):
    draw, world = random.Random(seed), world_of(seed)
    before = world.engine()
    figures = {batch.id: before.batch(batch.id) for batch in before.batches()}
    known = len(world.facts)
    stated_later(draw, world)
    knowledge = before.knowledge.grown(world.facts[known:])
    after = Engine(knowledge, before.readings, earlier=before)
    anew = world.engine()
    found = restated(before, after)
    assert found is not None
    parts = dict(found.items())
    stands = {}
    for batch in after.batches():
        stands[batch.id] = standing(figures[batch.id], batch, parts.get(batch.id))
    after.foresee(after.batches(), stands)
    for batch in after.batches():
        whole = anew.batch(batch.id)
        if batch.id in parts:
            assert after.batch(batch.id, stands[batch.id]) == whole, (seed, batch.id)
        else:
            assert figures[batch.id] == whole, (seed, batch.id)


def a_settled_batch():
    """A settled batch of two meters and its figure."""
    for seed in range(200):
        engine = world_of(seed).engine()
        for batch in engine.batches():
            figure = engine.batch(batch.id)
            meters = {row.instrument for row in figure.sources}
            settled = figure.state is BatchState.FINAL and not figure.incomplete
            if settled and figure.findings and meters == {"m", "air"}:
                return batch, figure
    raise AssertionError("no batch of two hundred worlds is settled")


def test_a_row_stands_unless_something_of_the_whole_batch_is_open():
    batch, figure = a_settled_batch()
    only = frozenset(("m",))
    stands = standing(figure, batch, only)
    assert list(stands.rows) == ["air"]
    assert not any(f.subject in ("m", "m/e") for f in stands.findings)
    assert {f for f in figure.findings if f.subject.startswith("air")} <= set(stands.findings)
    assert standing(None, batch, only) is NOTHING
    assert standing(figure, batch, None) is NOTHING
    assert standing(figure, replace(batch, good=batch.good + 1), only) is NOTHING
    for change in (
        {"waits": ("pool:1",)},
        {"incomplete": ("no_factor:x",)},
        {"state": BatchState.PROVISIONAL},
        {"state": BatchState.FINAL_ESTIMATED},
    ):
        assert standing(replace(figure, **change), batch, only) is NOTHING, change
    prices = (Finding("factor_overdue", "f", 0, Severity.WARNING),)
    stands = standing(replace(figure, findings=prices), batch, frozenset())
    assert (set(stands.rows), stands.findings) == ({"m", "air"}, ())


def test_findings_of_an_instrument_whose_name_begins_with_another_ones_stand():
    batch, figure = a_settled_batch()
    rows = tuple(
        replace(r, source="m/e2", instrument="m/e2") if r.source == "air" else r
        for r in figure.sources
    )
    odd = (
        Finding("dip", "m/e2/e", 0, Severity.WARNING),
        Finding("dip", "m/e", 0, Severity.WARNING),
    )
    stands = standing(replace(figure, sources=rows, findings=odd), batch, frozenset(("m",)))
    assert stands.findings == odd[:1]


def test_what_is_out_of_date_as_a_whole_stays_so():
    found = OutOfDate(["a"])
    found.add(["a", "b"], "m")
    found.add(["b"], "n")
    other = OutOfDate()
    other.add(["b", "c"], "o")
    found.update(other)
    assert dict(found.items()) == {"a": None, "b": frozenset("mno"), "c": frozenset("o")}
    found.add_priced(["a", "c", "d"])
    assert dict(found.items())["d"] == frozenset()
    assert dict(found.items())["c"] == frozenset("o")
    found.take("d")
    found.add(["b"])
    assert found.take("b") is None
    assert list(found) == ["a", "c"]
    assert len(found) == 2
