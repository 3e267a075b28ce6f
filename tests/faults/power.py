"""Power cuts of a store: one recorded run is cut at very many moments and opened again each time."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.disk import Disk, Operation
from tests.faults.recording import recording
from tests.faults.work import Work, judge, opened

DATABASE = "store.db"
FOLDS = (4, 16, 64, 1000)
"""Pages after which the write-ahead log is folded into the database; one is drawn each run."""

FIRST = 6
"""Operations in which a store comes to be."""
FINISHED = 3
"""Of so many cuts one is followed by the rest of the run; after each the store is looked through."""
SHARE = 2000
"""Cuts one process makes at a time."""


@dataclass(slots=True)
class Cuts:
    """What came of a number of cuts."""

    done: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What became of unsynced sectors and names: (file, fate)."""


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where the machine has one: the disk's own behaviour plays no part."""
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="meterprint-power-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins: nothing yet, or what a power cut has left."""

    files: dict[str, bytes] = field(default_factory=dict)
    step: int = 0


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a new folder; the path of the database in it."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / DATABASE


def record(
    work: Work, folder: Path, choice: random.Random, synchronous: str, start: Start
) -> list[Operation]:
    """A run of the steps that are left, closed and opened on the way, as a log of operations."""
    path = lay_out(folder, start.files)
    last = work.steps - 1
    stops = sorted({choice.randint(min(start.step, last), last) for _ in range(2)} | {work.steps})
    with recording(checkpoint_pages=choice.choice(FOLDS)) as log:
        log.append(Operation("done", at=start.step))
        step = start.step
        for stop in stops:
            with opened(work, path) as store:
                if synchronous != "FULL":
                    store._db.execute(f"PRAGMA synchronous={synchronous}")
                while step < stop:
                    work.do(store, step)
                    step += 1
                    log.append(Operation("done", at=step))
    shutil.rmtree(folder)
    return log


def _moment(choice: random.Random, operations: int) -> int:
    """After how many operations the power goes: any, and often while the files are being made."""
    return choice.randint(1, min(FIRST, operations) if choice.random() < 0.15 else operations)


def cut_run(
    work: Work, folder: Path, choice: random.Random, cuts: int, synchronous: str, start: Start
) -> tuple[Cuts, Start]:
    """Record one run and cut it `cuts` times; also what one of the cuts left, to go on from."""
    log = record(work, folder / "recorded", choice, synchronous, start)
    moments = sorted(_moment(choice, len(log)) for _ in range(cuts))
    chosen = choice.randrange(cuts)
    disk, applied, outcome, left = Disk(start.files), 0, Cuts(), Start()
    for number, moment in enumerate(moments):
        while applied < moment:
            disk.apply(log[applied])
            applied += 1
        files = disk.cut(choice)
        path = lay_out(folder / "image", files)
        faults = judge(work, path, disk.reported, finish=not number % FINISHED)
        shutil.rmtree(path.parent)
        outcome.done += 1
        if faults:
            outcome.failed += 1
            outcome.examples.append(f"operation {moment} of {len(log)}: {faults[0]}")
        elif number == chosen:
            left = Start(files, disk.reported)
    outcome.fates = disk.fates
    return outcome, left


def power_cuts(
    make: Callable[[int], Work],
    cuts: int,
    *,
    seed: int = 0,
    each: int = 500,
    synchronous: str = "FULL",
    progress: Callable[[Cuts], None] = lambda _: None,
) -> Cuts:
    """`cuts` power cuts, `each` of one recorded run.

    Every second run goes on from what a cut of the one before has left, so that recovery itself
    is cut as well.
    """
    total = Cuts()
    with memory_folder() as folder:
        while total.done < cuts:
            work, choice, start = make(seed), random.Random(seed), Start()
            for _ in range(2):
                some = min(each, cuts - total.done)
                if not some:
                    break
                outcome, start = cut_run(work, folder, choice, some, synchronous, start)
                total.done += outcome.done
                total.failed += outcome.failed
                total.fates += outcome.fates
                total.examples += [f"seed {seed}, {e}" for e in outcome.examples]
            seed += 1
            progress(total)
    return total


def many_power_cuts(
    make: Callable[[int], Work], cuts: int, progress: Callable[[Cuts], None]
) -> Cuts:
    """`cuts` power cuts by as many processes as there are processors, each with seeds of its own."""
    total = Cuts()
    shares = [min(SHARE, cuts - at) for at in range(0, cuts, SHARE)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        begun = [
            pool.submit(power_cuts, make, share, seed=number * SHARE)
            for number, share in enumerate(shares)
        ]
        for done in as_completed(begun):
            part = done.result()
            total.done += part.done
            total.failed += part.failed
            total.examples += part.examples
            total.fates += part.fates
            progress(total)
    return total
