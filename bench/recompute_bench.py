"""Recompute 10⁷ and 10⁸ readings (or the number given) from segments, in a pool of two processes.

A hundred or a thousand counters at 10 s with gaps, roll-overs, failed reads, a correction curve
and hourly batches, priced by factors that change every quarter of an hour; integers to the end,
uncertainty from the tagged accumulators, a digest of all of it. Limit of the same run: DuckDB's
scan and sum of the same columns of the same files, in a process of its own.

The sums of one counter are held against the law in plain Python before anything is entered.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import record
from ingest.durable import replace_file
from ingest.manifest import Manifest, SegmentEntry
from ingest.recompute import ChannelSums, ChannelTask, channel_sums, recompute
from ingest.segment import Rows, footer_hash, render_segment
from ingest.series_parquet import ParquetStore
from mrv.measurement import law
from mrv.measurement.activity import LawParameters, counter_windows
from mrv.series import SeriesKey

PER_METER = 100_000
METERS_A_FILE = 50
STEP_NS = 10 * 10**9
MODULUS = 10**8
START = 1_767_225_600 * 10**9
LAW = LawParameters(
    modulus=MODULUS,
    max_rate=10**6,
    gap_ms=60_000,
    load=(1_000, 20_000, 60_000),
    ppm=(300, -120, 80),
)
QUARTER_MS, BATCH_MS = 900_000, 3_600_000
HIGH = 2**31
"""Amounts are multiplied in two halves, so that products stay exact in 64 bits."""
POINT_U, COMMON_U, FACTOR_U = 5e-4, 1e-3, 0.025
"""Relative standard uncertainties of a point of the curve, of what they share, of a factor."""
SIZES = {10**7: "recompute", 10**8: "recompute_1e8"}
"""Readings and the figure they are entered as."""
RUNS = 3


def make(folder: Path, total: int) -> tuple[list[SeriesKey], int]:
    """Segments of counters; their keys and the last time, ns."""
    draw = np.random.default_rng(20261124)
    keys, entries, last = [], [], 0
    for number in range(max(total // (PER_METER * METERS_A_FILE), 1)):
        channels = {}
        for meter in range(min(METERS_A_FILE, max(total // PER_METER, 1))):
            waits = STEP_NS + draw.integers(-3_000_000, 3_000_000, PER_METER)
            waits[draw.integers(0, PER_METER, 10)] *= 50
            steps = draw.integers(0, 120, PER_METER)
            t = START + np.cumsum(waits)
            v = (MODULUS - 3_000_000 + np.cumsum(steps)) % MODULUS
            ok = (draw.random(PER_METER) > 0.002).astype(np.int8)
            key = SeriesKey("a", "s", f"m{number * METERS_A_FILE + meter:05d}.energy")
            channels[key] = Rows(t, v, ok)
            last = max(last, int(t[-1]))
        keys += sorted(channels)
        path = folder / f"segment-{number + 1:08d}.parquet"
        data = render_segment(channels)
        replace_file(path, data)
        rows = sum(len(r) for r in channels.values())
        low = min(int(r.t[0]) for r in channels.values())
        high = max(int(r.t[-1]) for r in channels.values())
        digest = hashlib.sha256(data).hexdigest()
        entries.append(SegmentEntry(path.name, 0, rows, low, high, digest, footer_hash(path)))
    Manifest(len(entries), 0, "", entries, []).write(folder)
    return keys, last


@dataclasses.dataclass(frozen=True, slots=True)
class Pricing:
    """How windows become burdens of batches; a batch is a run of windows."""

    starts: Any
    """First window of each batch, int64."""
    factors: Any
    """Factor of each window, millionths of kgCO2e a count, int64, below 2²⁰."""


def price(sums: ChannelSums, pricing: Pricing) -> tuple[Any, Any, Any]:
    """Burdens of a channel's batches in two exact halves, their uncertainty, and their states.

    A burden is high · 2³¹ + low with 0 ≤ low < 2³¹, in 10⁻¹² kgCO2e. Components by source: each
    point of the curve, what all points share, the register's resolution at both ends of a batch,
    the split of gaps, the factor (GUM 5.1.2; sources are independent).
    """
    starts, factors = pricing.starts, pricing.factors
    high, low = sums.amounts >> 31, sums.amounts & (HIGH - 1)
    upper = np.add.reduceat(high * factors, starts)
    lower = np.add.reduceat(low * factors, starts)
    burdens = np.stack((upper + (lower >> 31), lower & (HIGH - 1)))
    kg = factors * 1e-12
    amounts = (sums.weights, sums.metered, sums.gaps, sums.amounts)
    found = np.add.reduceat(np.column_stack(amounts) * kg[:, None], starts)
    points = sums.weights.shape[1]
    u = found * np.array([*[POINT_U] * points, COMMON_U, 12**-0.5, FACTOR_U])
    ends = np.add.reduceat(kg, starts) / np.diff(starts, append=len(kg)) * law.MILLION / 6**0.5
    u = np.sqrt((u**2).sum(axis=1) + ends**2)
    return burdens, u, np.add.reduceat(sums.counts, starts)


def finish(sums: ChannelSums, pricing: Pricing) -> bytes:
    """Digest of a channel: its windows, its batches' burdens, their uncertainty and states."""
    digest = hashlib.sha256("/".join(sums.key).encode())
    for part in (sums.amounts, sums.metered, sums.gaps, sums.withheld, *price(sums, pricing)):
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def run(folder: Path, tasks: list[ChannelTask], pricing: Pricing, pool: Any) -> str:
    """Digest of the whole recomputation."""
    work = functools.partial(finish, pricing=pricing)
    return hashlib.sha256(b"".join(recompute(folder, tasks, pool, work))).hexdigest()


def plan(keys: list[SeriesKey], last: int) -> tuple[list[ChannelTask], Pricing]:
    """Windows of every channel, cut at quarters of an hour and batches, and what they cost."""
    first, end = START // 10**6 // BATCH_MS * BATCH_MS, last // 10**6 + 1
    quarters = np.arange(first, end + QUARTER_MS, QUARTER_MS, dtype=np.int64)
    edges = np.arange(first + 420_000, end + BATCH_MS, BATCH_MS, dtype=np.int64)
    cuts = np.union1d(quarters, edges)
    batch_of = np.searchsorted(edges, cuts[:-1], side="right")
    by_quarter = np.random.default_rng(7).integers(200_000, 900_000, len(quarters))
    factors = by_quarter[np.searchsorted(quarters, cuts[:-1], side="right") - 1]
    pricing = Pricing(np.flatnonzero(np.diff(batch_of, prepend=-1)), factors)
    return [ChannelTask(key, cuts, LAW) for key in keys], pricing


def check(folder: Path, task: ChannelTask, pricing: Pricing) -> None:
    """Hold a channel's sums and burdens against the plain law and Python's own integers."""
    store = ParquetStore(folder, write=False)
    sums = channel_sums(store, task)
    cuts = [int(cut) * law.MILLION for cut in task.cuts]
    held = store.read(task.key, cuts[0], cuts[-1])
    store.close()
    plain = counter_windows(held, cuts, task.law)
    assert sums.amounts.tolist() == [w.corrected for w in plain], "not the plain law's amounts"
    assert [tuple(c) for c in sums.counts.tolist()] == [w.counts for w in plain]
    assert sum(w.counts[law.GAP] for w in plain), "no gap in the data"
    assert sum(w.counts[law.ROLL_OVER] for w in plain), "no roll-over in the data"
    high, low = price(sums, pricing)[0].tolist()
    burdens = [h * HIGH + x for h, x in zip(high, low, strict=True)]
    bounds = [*pricing.starts.tolist(), len(plain)]
    assert burdens == [
        sum(plain[w].corrected * int(pricing.factors[w]) for w in range(a, b))
        for a, b in itertools.pairwise(bounds)
    ], "not the exact burdens"


def scan(query: str) -> tuple[float, list[Any]]:
    """Seconds DuckDB takes, connected beforehand, and what it finds."""
    import duckdb

    with duckdb.connect() as connection:
        started = time.perf_counter()
        found = connection.execute(query).fetchall()
        return time.perf_counter() - started, found


def peak_mb(pid: int | str) -> int:
    """Largest resident memory a process has had, MB (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024


def measure(total: int) -> None:
    """Make so many readings, recompute them, print and enter the figure."""
    aside = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(1, mp_context=aside) as peer,
    ):
        folder = Path(name)
        with ProcessPoolExecutor(1, mp_context=aside) as maker:
            keys, last = maker.submit(make, folder, total).result()
            tasks, pricing = plan(keys, last)
            maker.submit(check, folder, tasks[0], pricing).result()
        rows = PER_METER * len(keys)
        query = f"SELECT sum(t), sum(v), sum(ok) FROM read_parquet('{name}/*.parquet')"
        ours, scans, digests = [], [], set()
        peer.submit(scan, query).result()
        others = multiprocessing.active_children()
        with ProcessPoolExecutor(2) as pool:
            for _ in range(RUNS + 1):
                scans.append(peer.submit(scan, query).result()[0])
                started = time.perf_counter()
                digests.add(run(folder, tasks, pricing, pool))
                ours.append(time.perf_counter() - started)
            workers = [p for p in multiprocessing.active_children() if p not in others]
            peaks = [peak_mb("self"), *(peak_mb(p.pid or 0) for p in workers)]
        with ProcessPoolExecutor(1) as pool:
            digests.add(run(folder, tasks, pricing, pool))
        assert len(digests) == 1, "the digest depends on how channels are dealt out"
        size = sum(path.stat().st_size for path in folder.glob("segment-*")) / rows
    ours, scans = ours[1:], scans[1:]
    figure, limit = statistics.median(ours), statistics.median(scans)
    batches = len(pricing.starts) * len(keys)
    print(f"recompute {rows:,} readings, {batches:,} batches: {figure:.3f} s")
    print(f"DuckDB scan and sum of the same columns: {limit:.3f} s; ratio {figure / limit:.2f}")
    print(f"{rows / figure / 1e6:.1f} M readings/s on {os.cpu_count()} cores; digest alike")
    said = " + ".join(str(peak) for peak in peaks)
    print(f"{size:.2f} bytes a reading; RSS at most {said} = {sum(peaks)} MB")
    record(
        SIZES.get(total, "recompute"),
        round(figure, 4),
        f"s for {rows} readings, {sum(peaks)} MB RSS of all processes",
        {"duckdb_scan_sum_s": round(limit, 4)},
        {},
        [round(x, 4) for x in ours],
        faster_is_less=True,
    )


def main() -> None:
    """Measure both sizes, or the one given."""
    for total in [int(float(sys.argv[1]))] if len(sys.argv) > 1 else SIZES:
        measure(total)


if __name__ == "__main__":
    main()
