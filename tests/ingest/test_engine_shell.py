"""The live engine computes only what a change touches, and ends where a full computation ends."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import computing, result_store
from tests.ingest.random_plant import METERS, Plant, S, agrees

LIVES = int(os.environ.get("METERPRINT_LIVES", "8"))
"""Lives of a site that the law is tried on."""


@settings(max_examples=LIVES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_live_engine_ends_where_a_full_computation_ends(tmp_path_factory, seed):
    choice = random.Random(seed)
    plant = Plant(tmp_path_factory.mktemp("site"), choice)
    acts = (
        [plant.read] * 8
        + [plant.weigh] * 2
        + [plant.read_by_another]
        + [plant.deliver] * 5
        + [plant.batch] * 4
        + [plant.state, plant.reopen, plant.seal]
        + [lambda: plant.site.refresh(eager=choice.random() < 0.5)] * 8
    )
    patch = pytest.MonkeyPatch()
    patch.setattr(result_store, "HELD", choice.choice((2, 6, 2000)))
    try:
        for _ in range(90):
            choice.choice(acts)()
            if choice.random() < 0.04:
                agrees(plant.site)
        agrees(plant.site)
        plant.reopen()
        agrees(plant.site)
    finally:
        patch.undo()
        plant.site.close()


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32), together=st.sampled_from((2, 7, 200)))
def test_many_batches_restated_at_once_end_where_a_full_computation_ends(
    tmp_path_factory, seed, together
):
    choice = random.Random(seed)
    plant = Plant(tmp_path_factory.mktemp("site"), choice)
    patch = pytest.MonkeyPatch()
    patch.setattr(computing, "AHEAD", together)
    try:
        for _ in range(25):
            for act in [plant.read] * 4 + [plant.batch] * 2:
                act()
            if choice.random() < 0.7:
                plant.deliver()
            if choice.random() < 0.2:
                plant.seal()
        agrees(plant.site)
        for _ in range(5):
            for act in choice.choices((plant.state, plant.deliver, plant.read), k=4):
                act()
            if choice.random() < 0.3:
                plant.reopen()
            agrees(plant.site)
    finally:
        patch.undo()
        plant.site.close()


def test_a_certificate_reads_the_meter_it_is_of_where_it_holds_and_nothing_else(
    tmp_path, monkeypatch
):
    plant = Plant(tmp_path, random.Random(5))
    asked = []
    try:
        for hour in range(40):
            for meter in METERS:
                plant.run(meter, hour * 100, 20, 5)
            plant.deliver_all()
            for line in ("l0", "l1"):
                plant.event(line, f"{line}-{hour}", hour * 100, "start")
                plant.event(line, f"{line}-{hour}", hour * 100 + 90, "end")
        plant.paper("m0", 0, None)
        plant.site.refresh()
        plant.seal()
        agrees(plant.site)
        readings = plant.site.engine.readings
        read = readings.signed_read

        def noted(key, start, end, margin):
            found = read(key, start, end, margin)
            if end > start:  # else it asks for neighbours of a moment
                asked.append((key.channel, start // S, end // S, len(found)))
            return found

        monkeypatch.setattr(readings, "signed_read", noted)
        plant.paper("m0", 1000, 1200)
        plant.site.engine.catch_up()
        changed = plant.site.engine.refresh()
        assert {"l0-10", "l0-11"} <= set(changed) <= {f"l0-{hour}" for hour in range(8, 15)}
        assert {channel for channel, *_ in asked} == {"m0.e"}
        assert all(start >= 800 and end <= 1500 for _, start, end, _ in asked)
        assert 40 <= sum(count for *_, count in asked) <= 20 * 7 + 8
        asked.clear()
        assert plant.site.engine.refresh() == []
        assert asked == []
        monkeypatch.undo()
        agrees(plant.site)
    finally:
        plant.site.close()
