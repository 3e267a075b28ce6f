"""Power cuts of outbox and journal: what was committed is there, and the harness sees a loss."""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.disk import SECTOR, Disk, Operation
from tests.faults.figures import Progress, reached
from tests.faults.power import DATABASE, SHARE, many_power_cuts, power_cuts
from tests.faults.work import WORKS

CUTS = int(os.environ.get("METERPRINT_CUTS", "600"))
"""Of each store; `make faults` makes a hundred thousand."""
ENOUGH = 600
"""So many cuts do everything to every file that a power cut can do."""

stores = pytest.mark.parametrize("name", WORKS)


@stores
def test_a_power_cut_loses_nothing_that_was_committed(name):
    progress = Progress(f"power cuts, {name}", CUTS)
    if CUTS > SHARE:
        outcome = many_power_cuts(WORKS[name], CUTS, lambda cuts: progress.at(cuts.done))
    else:
        outcome = power_cuts(WORKS[name], CUTS, each=max(20, CUTS // 10))
    assert outcome.done == CUTS
    assert outcome.examples == []
    reached(f"power cuts of the {name}", CUTS)
    for file in (DATABASE, f"{DATABASE}-wal"):
        for fate in ("kept", "torn", "dropped", "name kept", "name dropped"):
            assert outcome.fates[file, fate] > 0 or CUTS < ENOUGH, (file, fate)
            reached(f"{name}: {file.removeprefix('store.')} {fate}", outcome.fates[file, fate])


@stores
@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_the_harness_finds_the_loss_of_a_store_that_does_not_sync(name, synchronous):
    outcome = power_cuts(WORKS[name], 300, each=50, synchronous=synchronous)
    assert any("lost" in example for example in outcome.examples)


def test_what_was_synced_stays_and_what_was_not_may_go():
    disk = Disk()
    synced, unsynced = b"a" * 4 * SECTOR, b"b" * 4 * SECTOR
    for operation in (
        Operation("create", "x-wal"),
        Operation("write", "x-wal", 0, synced),
        Operation("sync", "x-wal"),
        Operation("write", "x-wal", 2 * SECTOR, unsynced),
    ):
        disk.apply(operation)
    choice = random.Random(1)
    seen = [disk.cut(choice)["x-wal"] for _ in range(200)]
    assert all(image.startswith(b"a" * 2 * SECTOR) for image in seen)
    assert synced in seen
    assert synced[: 2 * SECTOR] + unsynced in seen
    torn = [image for image in seen if image.count(b"b") % SECTOR]
    assert torn


def test_a_new_name_is_lost_until_its_folder_is_synced():
    disk = Disk()
    disk.apply(Operation("create", "x"))
    choice = random.Random(1)
    assert {frozenset(disk.cut(choice)) for _ in range(50)} == {frozenset(), frozenset({"x"})}
    disk.apply(Operation("create", "x-wal"))
    disk.apply(Operation("sync", "x-wal"))
    assert {frozenset(disk.cut(choice)) for _ in range(50)} == {frozenset({"x", "x-wal"})}
