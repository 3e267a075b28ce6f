"""Recomputing a history from segments: one kernel a channel, channels spread over processes.

The kernel is the compiled law of `mrv`; what it gives for a channel are integers, so the result
does not depend on how channels are dealt out (design §7).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from footprint.activity import Activity
from footprint.engine import Engine
from footprint.metering import Meter
from ingest.kernels import compiled
from ingest.series_parquet import ParquetStore
from mrv.errors import MeterprintError
from mrv.interval import NS_PER_MS
from mrv.measurement import law
from mrv.measurement.activity import LawParameters, WindowSum
from mrv.measurement.anchor import read_back
from mrv.series import Series, SeriesKey

PORTION = 16
"""Most channels of one task: neighbours share row groups."""
PORTIONS = 32
"""Tasks there are at least where there are channels enough, so that all processes end together."""


@dataclass(frozen=True, slots=True)
class ChannelTask:
    """What to compute of one cumulative register."""

    key: SeriesKey
    """Its channel."""
    cuts: Any
    """Bounds of the windows, whole ms since 1970, int64, strictly increasing."""
    law: LawParameters
    """Modulus, plausible rate, gap rule, correction curve."""


@dataclass(frozen=True, slots=True)
class ChannelSums:
    """What the law found in each window of a channel; int64 arrays."""

    key: SeriesKey
    """The channel."""
    readings: int
    """Readings that were looked at."""
    amounts: Any
    """Corrected, millionths of the resolution."""
    metered: Any
    """As the register shows it, millionths."""
    gaps: Any
    """Part of `amounts` in gap steps, millionths."""
    withheld: Any
    """Counts no meter can show."""
    weights: Any
    """`metered` by point of the curve: windows × points."""
    counts: Any
    """Steps by state: windows × law.STATES."""

    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        found = hashlib.sha256("/".join(self.key).encode())
        parts = (self.amounts, self.metered, self.gaps, self.withheld, self.weights, self.counts)
        for part in parts:
            found.update(np.ascontiguousarray(part).data)
        return found.digest()


def _from_a_sure_one(store: ParquetStore, task: ChannelTask, start: int, end: int) -> Series:
    """Readings in [start, end) and those beside them, back to where a step is sure to end."""

    def read(margin: int) -> Series:
        rows = store.near(task.key, start, end, margin, keep=False)
        return Series(rows.t, rows.v, rows.ok)

    return read_back(read, start, task.law.max_rate)[0]


def channel_sums(store: ParquetStore, task: ChannelTask) -> ChannelSums:
    """The sums of one channel: its windows and the readings next to them."""
    start, end = int(task.cuts[0]) * law.MILLION, int(task.cuts[-1]) * law.MILLION
    series = _from_a_sure_one(store, task, start, end)
    windows, points = len(task.cuts) - 1, len(task.law.load)
    amounts, metered, gaps, withheld = (np.zeros(windows, np.int64) for _ in range(4))
    weights = np.zeros(max(windows * points, 1), np.int64)
    counts = np.zeros(windows * law.STATES, np.int64)
    kernels = compiled()
    if not kernels.fits(series, task.law, True):
        raise MeterprintError(
            f"{task.key.channel} holds values beyond the compiled law",
            hint="recompute its batches one by one: the plain law has no bound",
        )
    kernels.counter(
        series.t,
        series.v,
        series.ok,
        task.cuts,
        task.law.modulus,
        task.law.max_rate,
        task.law.gap_ms,
        np.asarray(task.law.load, np.int64),
        np.asarray(task.law.ppm, np.int64),
        amounts,
        metered,
        gaps,
        withheld,
        weights,
        counts,
        *kernels.workspace(len(series), points),
    )
    return ChannelSums(
        task.key,
        len(series),
        amounts,
        metered,
        gaps,
        withheld,
        weights[: windows * points].reshape(windows, points),
        counts.reshape(windows, law.STATES),
    )


_OPENED: dict[Path, ParquetStore] = {}
Found = TypeVar("Found")
Finish = Callable[[ChannelSums], Found]
"""What a process makes of a channel's sums before it hands them back."""


def _portion(folder: Path, tasks: Sequence[ChannelTask], finish: Finish[Found]) -> list[Found]:
    """Work of one process: it opens the store once."""
    store = _OPENED.get(folder)
    if store is None:
        store = _OPENED[folder] = ParquetStore(folder, write=False)
    return [finish(channel_sums(store, task)) for task in tasks]


def recompute(
    folder: Path,
    tasks: Sequence[ChannelTask],
    pool: ProcessPoolExecutor,
    finish: Finish[Found],
) -> Iterator[Found]:
    """What `finish` makes of many channels' sums, in the order of the tasks.

    `folder` holds the segments. Tasks sorted by (channel, agent, stream) read each row group once.
    """
    size = min(max(len(tasks) // PORTIONS, 1), PORTION)
    portions = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    folders, finishes = [folder] * len(portions), [finish] * len(portions)
    for found in pool.map(_portion, folders, portions, finishes):
        yield from found


def as_is(sums: ChannelSums) -> ChannelSums:
    """The sums themselves."""
    return sums


def prime(engine: Engine, folder: Path, workers: int) -> int:
    """Compute the windows that batches of a whole history ask for, in processes; how many.

    Counters that never changed channel, ratio or certificate are computed in one pass each; the
    others are left to the engine.
    """
    wanted: dict[SeriesKey, tuple[Meter, list[int]]] = {}
    for _, plant in engine.knowledge.plants[-1:]:
        for source in plant.sources:
            metered = engine.metered(plant, source)
            if metered is None or metered.source.shared or metered.meter.key is None:
                continue
            span = metered.meter.span()
            if metered.meter.steady() is None or span is None:
                continue
            start = span[0] // NS_PER_MS * NS_PER_MS
            end = (span[1] // NS_PER_MS + 1) * NS_PER_MS
            line = engine.timeline(source.lines[0])
            tiles = line.tiles(start, end, plant.policy.changeover)
            cuts = [tile.start for tile in tiles] + [end]
            wanted[metered.meter.key] = (metered.meter, cuts)
    tasks = [
        ChannelTask(key, np.array(cuts, np.int64) // NS_PER_MS, meter.stretches[0].law)
        for key, (meter, cuts) in sorted(wanted.items(), key=lambda pair: pair[0][::-1])
    ]
    if not tasks:
        return 0
    with ProcessPoolExecutor(workers) as pool:
        for sums in recompute(folder, tasks, pool, as_is):
            _remember(*wanted[sums.key], sums)
    return sum(len(task.cuts) - 1 for task in tasks)


def _remember(meter: Meter, cuts: Sequence[int], sums: ChannelSums) -> None:
    stretch = meter.steady()
    assert stretch is not None
    for place, window in enumerate(itertools.pairwise(cuts)):
        found = WindowSum(
            int(sums.amounts[place]),
            int(sums.metered[place]),
            int(sums.gaps[place]),
            int(sums.withheld[place]),
            tuple(sums.weights[place].tolist()),
            tuple(sums.counts[place].tolist()),
        )
        something = found.metered or found.corrected or any(found.counts) or found.withheld
        meter.remember(window, Activity(((stretch, found),) if something else ()))
