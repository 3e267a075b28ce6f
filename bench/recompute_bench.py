"""Recompute 10⁸ readings (or the number given) from segments, in a pool of two processes.

A thousand counters at 10 s with gaps, roll-overs, failed reads, a correction curve and hourly
batches, priced by factors that change every quarter of an hour; integers to the end, uncertainty
from the tagged accumulators, a digest of all of it. Limit of the same run: DuckDB's scan and sum
of the same columns of the same files.
"""

from __future__ import annotations

import functools
import hashlib
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import record
from ingest.durable import replace_file
from ingest.manifest import Manifest, SegmentEntry
from ingest.recompute import ChannelTask, recompute
from ingest.segment import Rows, render_segment
from mrv.measurement.activity import LawParameters
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


def make(folder: Path, total: int) -> tuple[list[SeriesKey], int]:
    """Segments of counters; their keys and the last time, ns."""
    from ingest.segment import footer_hash

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


def price(sums, batch_of, batches: int, factors) -> tuple[list[int], np.ndarray]:
    """Burdens of a channel's batches, exact (amount × factor), and their uncertainty."""
    high, low = sums.amounts // HIGH, sums.amounts % HIGH
    parts = [np.zeros(batches, np.int64) for _ in range(2)]
    np.add.at(parts[0], batch_of, high * factors)
    np.add.at(parts[1], batch_of, low * factors)
    burdens = [int(h) * HIGH + int(x) for h, x in zip(*parts, strict=True)]
    points = np.zeros((batches, sums.weights.shape[1]))
    np.add.at(points, batch_of, sums.weights * (factors * 1e-6)[:, None])
    gap = np.bincount(batch_of, weights=sums.gaps * (factors * 1e-6), minlength=batches)
    return burdens, np.sqrt((points * 2e-3) ** 2 @ np.ones(points.shape[1]) + gap**2 / 12)


def finish(sums, batch_of, batches: int, factors) -> bytes:
    """Digest of a channel: its sums, its batches' burdens and their uncertainty."""
    burdens, u = price(sums, batch_of, batches, factors)
    digest = hashlib.sha256(sums.digest())
    digest.update(repr(burdens).encode())
    digest.update(u.tobytes())
    return digest.digest()


def run(folder: Path, tasks, batch_of, batches: int, factors, pool) -> str:
    """Digest of the whole recomputation."""
    work = functools.partial(finish, batch_of=batch_of, batches=batches, factors=factors)
    return hashlib.sha256(b"".join(recompute(folder, tasks, pool, work))).hexdigest()


def main() -> None:
    """Print both figures and enter them."""
    import duckdb

    total = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys, last = make(folder, total)
        rows = PER_METER * len(keys)
        first, end = START // 10**6 // BATCH_MS * BATCH_MS, last // 10**6 + 1
        quarters = np.arange(first, end + QUARTER_MS, QUARTER_MS, dtype=np.int64)
        edges = np.arange(first + 420_000, end + BATCH_MS, BATCH_MS, dtype=np.int64)
        cuts = np.union1d(quarters, edges)
        batch_of = np.clip(np.searchsorted(edges, cuts[:-1], side="right"), 0, len(edges))
        draw = np.random.default_rng(7)
        by_quarter = draw.integers(200_000, 900_000, len(quarters))
        factors = by_quarter[np.searchsorted(quarters, cuts[:-1], side="right") - 1]
        tasks = [ChannelTask(key, cuts, LAW) for key in keys]
        batches = len(edges) + 1
        query = f"SELECT sum(t), sum(v), sum(ok) FROM read_parquet('{name}/*.parquet')"
        ours, scans, digests = [], [], set()
        with ProcessPoolExecutor(2) as pool:
            run(folder, tasks[:64], batch_of, batches, factors, pool)
            for _ in range(4):
                started = time.perf_counter()
                duckdb.connect().execute(query).fetchall()
                scans.append(time.perf_counter() - started)
                started = time.perf_counter()
                digests.add(run(folder, tasks, batch_of, batches, factors, pool))
                ours.append(time.perf_counter() - started)
        with ProcessPoolExecutor(1) as pool:
            digests.add(run(folder, tasks, batch_of, batches, factors, pool))
        assert len(digests) == 1, "the digest depends on how channels are dealt out"
        size = sum(path.stat().st_size for path in folder.glob("segment-*")) / rows
    ours, scans = ours[1:], scans[1:]
    figure, scan = statistics.median(ours), statistics.median(scans)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"recompute {rows:,} readings, {batches * len(keys):,} batches: {figure:.3f} s")
    print(f"DuckDB scan and sum of the same columns: {scan:.3f} s; ratio {figure / scan:.2f}")
    print(f"{rows / figure / 1e6:.1f} M readings/s on {os.cpu_count()} cores; digest alike")
    print(f"{size:.2f} bytes a reading; RSS {own // 1024} MB here, {child // 1024} MB a worker")
    limits = {"duckdb_scan_sum_s": round(scan, 4)}
    unit, runs = f"s for {rows} readings", [round(x, 4) for x in ours]
    record("recompute", round(figure, 4), unit, limits, {}, runs, faster_is_less=True)


if __name__ == "__main__":
    main()
