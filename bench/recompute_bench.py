"""Recompute 10⁷ readings (or the number given) from sorted Parquet segments.

Limit of the same run: DuckDB's scan and sum of the same columns. Ours adds steps with gaps and
roll-overs, a correction curve, ten-minute windows and a digest, in a pool of two processes.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.results import record
from ingest.kernels import compiled
from mrv.measurement.law import STATES

PER_METER = 100_000
METERS_A_FILE = 10
STEP_NS = 10 * 10**9
MODULUS = 10**8
LOAD = np.array([1_000, 20_000, 60_000], dtype=np.int64)
PPM = np.array([300, -120, 80], dtype=np.int64)


def make(folder: Path, total: int) -> list[Path]:
    """Segments sorted by meter and time."""
    draw = np.random.default_rng(20261124)
    files = []
    for number in range(max(total // (PER_METER * METERS_A_FILE), 1)):
        columns = {"meter": [], "t": [], "v": [], "ok": []}
        for meter in range(METERS_A_FILE):
            waits = np.full(PER_METER, STEP_NS, dtype=np.int64)
            waits[draw.integers(0, PER_METER, 50)] *= 500
            steps = draw.integers(0, 120, PER_METER)
            columns["meter"].append(np.full(PER_METER, number * METERS_A_FILE + meter))
            columns["t"].append(np.cumsum(waits))
            columns["v"].append((MODULUS - 3_000_000 + np.cumsum(steps)) % MODULUS)
            columns["ok"].append((draw.random(PER_METER) > 0.002).astype(np.int8))
        table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
        path = folder / f"{number:05d}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=PER_METER)
        files.append(path)
    return files


def segment(path: str) -> tuple[str, int]:
    """Digest and corrected sum of one segment."""
    kernels = compiled()
    digest = hashlib.sha256()
    total = 0
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["t", "v", "ok"])
        t, v = table["t"].to_numpy(), table["v"].to_numpy()
        ok = table["ok"].to_numpy().astype(np.int64)
        cuts = np.arange(0, t[-1] // 10**6 + 600_000, 600_000, dtype=np.int64)
        windows = len(cuts) - 1
        outputs = [np.zeros(windows, dtype=np.int64) for _ in range(4)]
        weights = np.zeros(windows * len(LOAD), dtype=np.int64)
        counts = np.zeros(windows * STATES, dtype=np.int64)
        kernels.counter(
            t, v, ok, cuts, MODULUS, 10**6, 60_000, LOAD, PPM, *outputs, weights, counts
        )
        for array in (*outputs, weights, counts):
            digest.update(array.tobytes())
        total += int(outputs[0].sum())
    return digest.hexdigest(), total


def main() -> None:
    """Print both figures and enter them."""
    total = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**7
    with tempfile.TemporaryDirectory() as name:
        files = make(Path(name), total)
        rows = PER_METER * METERS_A_FILE * len(files)
        paths = [str(f) for f in files]
        query = f"SELECT sum(t), sum(v), sum(ok) FROM read_parquet('{name}/*.parquet')"
        ours, scans, digests = [], [], set()
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(segment, paths[:2]))
            for _ in range(4):
                started = time.perf_counter()
                duckdb.connect().execute(query).fetchall()
                scans.append(time.perf_counter() - started)
                started = time.perf_counter()
                results = list(pool.map(segment, paths))
                ours.append(time.perf_counter() - started)
                text = "".join(digest for digest, _ in results)
                digests.add(hashlib.sha256(text.encode()).hexdigest())
        assert len(digests) == 1
        ours, scans = ours[1:], scans[1:]
        figure, scan = statistics.median(ours), statistics.median(scans)
        print(f"recompute {rows:,} readings: {figure:.3f} s ({rows / figure / 1e6:.1f} M/s)")
        print(f"DuckDB scan and sum of the same columns: {scan:.3f} s; ratio {figure / scan:.2f}")
        print(f"digest {digests.pop()[:16]}")
        record(
            "recompute",
            round(figure, 4),
            f"s for {rows} readings",
            {"duckdb_scan_sum_s": round(scan, 4)},
            {},
            [round(x, 4) for x in ours],
            faster_is_less=True,
        )


if __name__ == "__main__":
    main()
