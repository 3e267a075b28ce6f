"""What changes a figure from beside: another channel's envelope, another batch's end, a second fact."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from edge_agent.source import RawReading
from mrv.fact import REGISTRY
from mrv.reporting.completeness import ChainLink, StreamChain
from tests.ingest.random_plant import CLOCK, STREAMS, Plant, S, agrees


@pytest.fixture
def plant(tmp_path):
    made = Plant(tmp_path, random.Random(3))
    own = made.chains["m0"]
    made.chains = dict.fromkeys(STREAMS, own)  # one stream for all, whatever the table says
    yield made
    made.site.close()


def values(meter, start, count):
    return [RawReading(f"{meter}.e", (start + 10 * n) * S, 0, start + n) for n in range(count)]


def test_a_hole_is_filled_by_an_envelope_that_says_nothing_of_the_meter(plant):
    for meter in ("m0", "m1", "air"):
        plant.run(meter, 0, 200, 10)
    plant.hold(plant.chains["m0"].cut(values("m1", 2000, 3), CLOCK))
    missing = plant.held.pop()
    for meter in ("m0", "air"):
        plant.hold(plant.chains["m0"].cut(values(meter, 2030, 300), CLOCK))
    plant.deliver_all()
    plant.event("l0", "b", 1500, "start")
    plant.event("l0", "b", 2500, "end")
    plant.site.refresh()
    waits = plant.site.engine.results["b"].waits
    assert any(wait.startswith("chain_gap") for wait in waits), waits
    plant.site.journal.append([missing])
    plant.site.refresh()
    waits = plant.site.engine.results["b"].waits
    assert not any(wait.startswith("chain_gap") for wait in waits), waits
    agrees(plant.site)


def test_time_a_batch_claimed_until_its_end_was_corrected_is_given_back(plant):
    plant.run("m1", 0, 400, 10)
    plant.deliver_all()
    plant.event("l1", "first", 100, "start")
    body = {"id": "x", "line": "l1", "batch": "first", "event": "end", "good": "1"}
    wrong, _ = plant.site.events.take({**body, "t": str(50 * S)}, "t")
    plant.event("l1", "second", 2000, "start")
    plant.event("l1", "second", 3000, "end")
    plant.site.refresh()
    agrees(plant.site)
    right = {**body, "id": "y", "t": str(200 * S), "supersedes": wrong.header.seq}
    plant.site.events.take(right, "t")
    agrees(plant.site)


def test_two_exchanges_stated_of_one_moment_are_both_said(plant):
    plant.run("m1", 0, 200, 10)
    plant.deliver_all()
    plant.event("l1", "b", 100, "start")
    plant.event("l1", "b", 1500, "end")
    for closing in (7, 0):
        body = {"closing": {"e": closing}, "opening": {"e": 0}, "serial": ""}
        plant.site.facts.record(
            REGISTRY, "instrument_exchanged", "m1", body, author="t", valid_from=500 * S
        )
        agrees(plant.site)


def test_three_envelopes_of_one_number_are_told_apart_alike_in_any_order():
    def link(name):
        return ChainLink("a", "s", "e", 1, name, "p", 10, 20, True, False, 20, 20, "b")

    for order in permutations(("x", "y", "z")):
        chain = StreamChain()
        for name in order:
            assert chain.add(link(name))
        assert chain.equivocations == [("x", "y"), ("x", "z")]
