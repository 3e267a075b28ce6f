"""Recomputing a history from segments: one kernel a channel, channels spread over processes.

The kernel is the compiled law of `mrv`; what it gives for a channel are integers, so the result
does not depend on how channels are dealt out (design §7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ingest.kernels import compiled
from ingest.series_parquet import ParquetStore
from mrv.errors import MeterprintError
from mrv.measurement import law
from mrv.measurement.activity import LawParameters
from mrv.series import Series, SeriesKey

PORTION = 16
"""Channels of one task: neighbours share row groups."""


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
            found.update(part.tobytes())
        return found.digest()


def channel_sums(store: ParquetStore, task: ChannelTask) -> ChannelSums:
    """The sums of one channel: its windows and the readings next to them."""
    start, end = int(task.cuts[0]) * law.MILLION, int(task.cuts[-1]) * law.MILLION
    rows = store.near(task.key, start, end, law.MARGIN)
    windows, points = len(task.cuts) - 1, len(task.law.load)
    amounts, metered, gaps, withheld = (np.zeros(windows, np.int64) for _ in range(4))
    weights = np.zeros(max(windows * points, 1), np.int64)
    counts = np.zeros(windows * law.STATES, np.int64)
    series = Series(rows.t, rows.v, rows.ok)
    kernels = compiled()
    if not kernels.fits(series, task.law, True):
        raise MeterprintError(
            f"{task.key.channel} holds values beyond the compiled law",
            hint="recompute its batches one by one: the plain law has no bound",
        )
    kernels.counter(
        rows.t,
        rows.v,
        rows.ok,
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
    )
    return ChannelSums(
        task.key,
        len(rows),
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
    portions = [tasks[i : i + PORTION] for i in range(0, len(tasks), PORTION)]
    folders, finishes = [folder] * len(portions), [finish] * len(portions)
    for found in pool.map(_portion, folders, portions, finishes):
        yield from found
