"""What a late hour, a new factor and a new certificate cost on a history of 10⁷ readings.

Each is entered as it would be in a plant and followed until every figure is right again. Figures
for factor and certificate are seconds for 10⁷ affected readings; a late hour is seconds as it is.
Limit of the same run: reading and computing the affected readings once, with nothing around it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.history import DAY_S, FACTOR, START, History, S
from bench.results import record
from ingest.collector import calm_collector
from ingest.recompute import ChannelTask, channel_sums
from mrv.fact import REGISTRY
from mrv.measurement.activity import LawParameters
from mrv.series import SeriesKey

LINES = 5
LATE_HOURS = (30, 31, 32)
"""Hours of line 0 that come late, one after the other."""
AFFECTED = 10**7


def late(history: History) -> list[float]:
    """Seconds until the figures are right after an hour came late, for each of them."""
    seconds = []
    for hour in LATE_HOURS:
        begin, end = START + hour * 3600 * S, START + (hour + 1) * 3600 * S
        drafts = [d for d in history.held if begin <= d.envelope.cols[0].t0 < end]
        started = time.perf_counter()
        history.take(drafts)
        history.site.refresh()
        seconds.append(time.perf_counter() - started)
    return seconds


def factor(history: History, value: str) -> float:
    """Seconds for a new factor that every batch asks for, for 10⁷ readings."""
    site = history.site
    started = time.perf_counter()
    rows = [{**FACTOR, "value": value}]
    site.facts.record(REGISTRY, "factor_set", "set", {"rows": rows}, author="bench")
    site.refresh()
    return (time.perf_counter() - started) * AFFECTED / history.readings


def certificate(history: History, number: int) -> tuple[float, int]:
    """Seconds for a certificate of one line's own meter, for 10⁷ readings; readings affected."""
    site = history.site
    meter = f"own{number}"
    body = {
        "instrument": meter,
        "kind": "calibration",
        "points": [
            {"load": "1000", "error_percent": "0.4", "expanded_percent": "0.1"},
            {"load": "9000", "error_percent": "-0.2", "expanded_percent": "0.1"},
        ],
    }
    started = time.perf_counter()
    site.facts.record(
        REGISTRY, "certificate_recorded", f"c{number}", body, author="bench", valid_from=START
    )
    site.facts.record(REGISTRY, "certificate_approved", f"c{number}", {"by": "x"}, author="bench")
    site.refresh()
    seconds = time.perf_counter() - started
    affected = history.readings // LINES // 2
    return seconds * AFFECTED / affected, affected


def floor(history: History) -> float:
    """Seconds to read and compute one meter with nothing around it, for 10⁷ readings."""
    store = history.site.engine.store
    assert store is not None
    key = SeriesKey("gateway", "line-1", "own1.e")
    last = history.streams[1].t // 10**6
    cuts = np.arange(START // 10**6, last + DAY_S * 1000, DAY_S * 1000, dtype=np.int64)
    law = LawParameters(gap_ms=900_000)
    channel_sums(store, ChannelTask(key, cuts, law))
    started = time.perf_counter()
    sums = channel_sums(store, ChannelTask(key, cuts, law))
    return (time.perf_counter() - started) * AFFECTED / sums.readings


def main() -> None:
    """Build the history, change it, print and enter."""
    calm_collector()  # as every server of ours does
    total = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**7
    with tempfile.TemporaryDirectory() as name:
        history = History(Path(name), LINES)
        history.grow(total, hold=lambda hour: hour in LATE_HOURS)
        history.settle()
        batches = len(history.site.engine.results)
        hours = late(history)
        factors = [factor(history, f"0.6{n}") for n in range(3)]
        papers = [certificate(history, n)[0] for n in range(3)]
        limit = floor(history)
        history.site.close()
    figures = [statistics.median(x) for x in (hours, factors, papers)]
    print(f"history of {total:,} readings, {batches} batches")
    print(f"a late hour: {figures[0]:.3f} s until every figure is right")
    print(f"a new factor: {figures[1]:.3f} s for 10⁷ affected readings")
    print(f"a new certificate: {figures[2]:.3f} s for 10⁷ affected readings")
    print(f"reading and computing 10⁷ readings once: {limit:.3f} s")
    record(
        "restate",
        round(max(figures[1:]), 4),
        f"s for 10⁷ affected readings, the slower of factor and certificate; "
        f"late hour {figures[0]:.4f} s, factor {figures[1]:.4f} s, certificate {figures[2]:.4f} s",
        {"read_and_compute_once_s": round(limit, 4)},
        {},
        [round(x, 4) for x in (*hours, *factors, *papers)],
        faster_is_less=True,
    )


if __name__ == "__main__":
    main()
