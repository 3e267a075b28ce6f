"""Every system call of the write path fails once, or from there on, or is the last one made.

`METERPRINT_INJECT` is how many points of each store are tried; 0 = all of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from meterprint.site import open_site
from tests.conftest import missing
from tests.faults.figures import Progress, reached
from tests.faults.injection import (
    FAULTS,
    FROM_THERE,
    ONCE,
    Point,
    emptied,
    files_of,
    occurrences,
    run_with,
    why_not,
)
from tests.faults.work import WORKS, judge

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
    folder, log = tmp_path / "store", tmp_path / "log"
    command = ["-m", "tests.faults.injected", name, str(SEED), str(STEPS), str(folder)]
    emptied(folder)
    made = occurrences(command, files_of(folder), log)
    assert {"openat", "pwrite64", "fdatasync", "unlink", "ftruncate"} <= set(made)
    chosen = points(made, COUNT)
    outcomes: Counter[str] = Counter()
    progress = Progress(f"injections, {name}", len(chosen))
    for done, point in enumerate(chosen):
        emptied(folder)
        ran = run_with(point, command, files_of(folder), log)
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
        outcomes[point.fault] += 1
        outcomes["refused"] += bool(ran.refused)
        progress.at(done + 1)
    if len(chosen) >= len(FAULTS) * len(made):  # every call has had every fault
        assert set(outcomes) >= {*FAULTS, "refused"}
    reached(f"injections into the {name}", len(chosen))


def test_whatever_call_fails_a_new_site_opens_in_the_end_with_the_keys_it_reported(tmp_path):
    folder, log = tmp_path / "site", tmp_path / "log"
    command = ["-m", "tests.faults.injected_site", str(folder)]
    keys = folder / "keys"
    made_by_hand = [f"{role}.key" for role in KEY_FILES] + ["salt"]
    watched = [folder, keys, folder / "site.json", folder / "site.json.tmp"]
    watched += [keys / f"{name}{end}" for name in made_by_hand for end in ("", ".tmp")]
    emptied(folder)
    made = occurrences(command, watched, log)
    assert {"openat", "write", "fsync"} <= set(made)
    chosen = points(made, COUNT)
    progress = Progress("injections, site", len(chosen))
    for done, point in enumerate(chosen):
        emptied(folder)
        ran = run_with(point, command, watched, log)
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
        progress.at(done + 1)
    reached("injections into a site", len(chosen))
