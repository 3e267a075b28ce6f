"""An agent's disk comes back older, or new, and its clock is set: nothing is lost unexplained."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.direct import Direct
from tests.faults.drilled_site import expected, outcome, readings_in
from tests.faults.processes import CHANNEL, STEP_NS, reading

TOTAL = 3200
HOUR = 3600 * 10**9


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    plant = Direct(tmp_path_factory.mktemp("calm"), TOTAL)
    plant.read(0, TOTAL)
    plant.deliver()
    assert plant.findings() == {}
    plant.close()
    return outcome(plant.state)


@pytest.fixture
def plant(tmp_path):
    return Direct(tmp_path, TOTAL)


def ended(plant):
    """Findings, and what the journal holds, at the end."""
    assert plant.outbox.depth() == 0
    found = plant.findings()
    plant.close()
    return found, outcome(plant.state)


def test_an_outbox_from_yesterdays_backup_is_a_fork_and_every_figure_stands(tmp_path, plant, calm):
    plant.read(0, 1000)
    plant.copy_outbox(tmp_path / "yesterday.db")
    plant.read(1000, 2000)
    plant.deliver()
    plant.lose_outbox(tmp_path / "yesterday.db")
    assert plant.outbox.depth() > 0  # it does not know that all this has been received
    plant.read(2000, TOTAL)
    plant.deliver()
    found, held = ended(plant)
    assert held.seen == expected(TOTAL)
    assert held.digests == calm.digests
    assert set(found) == {"fork"}


def test_what_only_the_lost_disk_had_is_a_gap_and_the_counter_bridges_it(tmp_path, plant, calm):
    plant.read(0, 1000)
    plant.deliver()
    plant.copy_outbox(tmp_path / "yesterday.db")
    plant.read(1000, 2000)
    plant.lose_outbox(tmp_path / "yesterday.db")
    plant.read(2000, TOTAL)
    plant.deliver()
    found, held = ended(plant)
    lost = expected(TOTAL) - held.seen
    assert lost == Counter((CHANNEL, r.t, r.v) for r in map(reading, range(1000, 2000)))
    assert held.seen - expected(TOTAL) == Counter()
    assert set(found) == {"gap"}
    changed = {name for name in calm.digests if held.digests[name] != calm.digests[name]}
    assert changed
    assert held.total == calm.total  # the counter went on: only the split in time is unknown


def test_a_replaced_disk_starts_a_chain_of_its_own_and_loses_nothing_delivered(plant, calm):
    plant.read(0, 1000)
    plant.deliver()
    plant.lose_outbox()
    assert plant.outbox.head("line") is None
    plant.read(1000, TOTAL)
    plant.deliver()
    found, held = ended(plant)
    assert held.seen == expected(TOTAL)
    assert set(found) == {"estimated_closure", "new_chain"}
    changed = {name for name in calm.digests if held.digests[name] != calm.digests[name]}
    assert len(found["estimated_closure"]) >= len(changed) > 0
    assert held.total == calm.total


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_clock_set_by_an_hour_loses_no_reading_and_is_found(plant, step):
    base = 2 * HOUR  # so that an hour back is still after 1970
    plant.shift = lambda t: t + base
    plant.read(0, 1000)
    plant.shift = lambda t: t + base + step
    plant.read(1000, 2000)
    plant.shift = lambda t: t + base
    plant.read(2000, 3000)
    plant.deliver()
    found, held = ended_at_any_state(plant)
    assert [v for _, _, v in sorted(held, key=lambda row: row[2])] == [
        reading(n).v for n in range(3000)
    ]
    stamped = Counter(
        (CHANNEL, n * STEP_NS + base + (step if 1000 <= n < 2000 else 0), reading(n).v)
        for n in range(3000)
    )
    assert held == stamped  # the stamps as they were given, each reading once
    steps = sorted(int(dict(numbers)["step_ns"]) for numbers in found["clock_step"])
    assert [round(seen / HOUR) for seen in steps] == [-1, 1]


def test_a_clock_wrong_at_start_and_then_set_loses_no_reading_and_is_found(plant):
    plant.shift = lambda t: t  # 1970, as after a start without a battery
    plant.read(0, 1000)
    plant.shift = lambda t: t + 1000 * HOUR
    plant.read(1000, 3000)
    plant.deliver()
    found, held = ended_at_any_state(plant)
    assert sorted(v for _, _, v in held) == [reading(n).v for n in range(3000)]
    (numbers,) = found["clock_step"]
    assert round(int(dict(numbers)["step_ns"]) / HOUR) == 1000


def ended_at_any_state(plant):
    """Findings and readings; batches may wait, as their time was not reached."""
    assert plant.outbox.depth() == 0
    found = plant.findings()
    seen = readings_in(plant.site.journal)
    assert plant.site.journal.verify() == []
    plant.close()
    return found, seen
