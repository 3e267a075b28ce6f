"""Every system call of the write path fails once, or from there on, or is the last one made.

`METERPRINT_INJECT` is how many points of each store are tried; 0 = all of them.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter

import pytest

from ingest.rotation import rotate
from meterprint.site import open_site
from mrv.verification.merkle import BLOCK
from tests.conftest import missing
from tests.faults.injection import (
    FAULTS,
    FROM_THERE,
    ONCE,
    Point,
    emptied,
    files_of,
    occurrences,
    run_with,
    try_all,
    why_not,
)
from tests.faults.work import WORKS, judge
from tests.ingest.journals import Plant as RotatedPlant
from tests.ingest.journals import content, fill, open_journal

COUNT = int(os.environ.get("METERPRINT_INJECT", "9"))
STEPS = 8
SEED = 3
KEY_FILES = ("root", "facts", "receipts", "checkpoints")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def strace():
    if why := why_not():
        missing(why)


def points(made: Counter[str], count: int) -> list[Point]:
    """`count` of all points, drawn from every kind of call and fault; 0 = all of them."""
    every = [
        Point(call, number, fault, then)
        for call in sorted(made)
        for number in range(1, made[call] + 1)
        for fault in FAULTS
        for then in ((ONCE,) if fault == "KILL" else (ONCE, FROM_THERE))
    ]
    random.Random(SEED).shuffle(every)
    if not count:
        return every
    kinds: dict[tuple[str, str], list[Point]] = {}
    for point in every:
        kinds.setdefault((point.call, point.fault), []).append(point)
    drawn: list[Point] = []
    while len(drawn) < min(count, len(every)):
        for some in kinds.values():
            if some:
                drawn.append(some.pop())
    return drawn[:count]


@pytest.mark.parametrize("name", WORKS)
def test_whatever_call_fails_what_was_reported_is_there_and_work_goes_on(tmp_path, name):
    def command(folder):
        return ["-m", "tests.faults.injected", name, str(SEED), str(STEPS), str(folder)]

    first = emptied(tmp_path / "counted")
    made = occurrences(command(first), files_of(first), tmp_path / "log")
    assert {"openat", "pwrite64", "fdatasync", "unlink", "ftruncate"} <= set(made)
    chosen = points(made, COUNT)
    outcomes: Counter[str] = Counter()

    def check(point, folder):
        ran = run_with(point, command(emptied(folder)), files_of(folder))
        text = f"{point}\n{ran.lines}\n{ran.errors[-1500:]}"
        if point.fault == "KILL":
            assert ran.killed, text
        elif point.then == ONCE:
            assert ran.status == 0, text  # tried again, everything got done
            assert ran.done == STEPS, text
        else:
            assert ran.status == 0 or ran.gave_up, text
        found = judge(WORKS[name](SEED, STEPS), folder / "store.db", ran.done)
        assert found == [], f"{found}\n{text}"
        outcomes.update([point.fault, *(["refused"] if ran.refused else [])])

    try_all(name, chosen, tmp_path, check)
    if len(chosen) >= len(FAULTS) * len(made):  # every call has had every fault
        assert set(outcomes) >= {*FAULTS, "refused"}


def test_whatever_call_fails_a_new_site_opens_in_the_end_with_the_keys_it_reported(tmp_path):
    def command(folder):
        return ["-m", "tests.faults.injected_site", str(folder)]

    def watched(folder):
        keys = [f"{role}.key" for role in KEY_FILES] + ["salt"]
        files = [folder, folder / "keys", folder / "site.json", folder / "site.json.tmp"]
        return files + [folder / "keys" / f"{name}{end}" for name in keys for end in ("", ".tmp")]

    first = emptied(tmp_path / "counted")
    made = occurrences(command(first), watched(first), tmp_path / "log")
    assert {"openat", "write", "fsync"} <= set(made)

    def check(point, folder):
        ran = run_with(point, command(emptied(folder)), watched(folder))
        text = f"{point}\n{ran.lines}\n{ran.errors[-1500:]}"
        assert ran.status == 0 or ran.killed or ran.gave_up, text
        site = open_site(folder, "fault-site")
        said = [line.split(" ", 1)[1] for line in ran.lines if line.startswith("root ")]
        assert said in ([], [site.keyring.root.public.vkey]), text
        assert site.journal.verify() == [], text
        size = site.journal.size
        site.close()
        again = open_site(folder, "fault-site")
        assert again.journal.size == size, text
        again.close()

    try_all("site", points(made, COUNT), tmp_path, check)


def test_whatever_call_fails_of_a_rotation_every_entry_stays(tmp_path):
    made_once = tmp_path / "made"
    journal, ring = open_journal(made_once)
    fill(journal, ring, 300, RotatedPlant())
    before = content(journal)
    cold, file = journal.cold_folder.name, f"{0:012d}-{BLOCK:012d}.cold"
    journal.close()

    def command(folder):
        return ["-m", "tests.faults.injected_rotation", str(folder)]

    def watched(folder):
        files = [folder / f"journal.db{end}" for end in ("", "-wal", "-shm")]
        return files + [folder / cold / name for name in ("", file, f"{file}.writing")]

    def fresh(folder):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made_once, folder)
        return folder

    first = fresh(tmp_path / "counted")
    made = occurrences(command(first), watched(first), tmp_path / "log")
    assert {"openat", "write", "fsync", "rename", "pwrite64"} <= set(made)

    def check(point, folder):
        ran = run_with(point, command(fresh(folder)), watched(folder))
        text = f"{point}\n{ran.lines}\n{ran.errors[-1500:]}"
        assert ran.status == 0 or ran.killed or ran.gave_up, text
        journal, _ = open_journal(folder)
        assert content(journal) == before, text
        assert journal.verify() == [], text
        rotate(journal, 0, whole_parts=False)
        assert journal.hot_start == BLOCK, text
        assert content(journal) == before, text
        assert journal.verify() == [], text
        journal.close()

    try_all("rotation", points(made, COUNT and max(3, COUNT // 3)), tmp_path, check)
