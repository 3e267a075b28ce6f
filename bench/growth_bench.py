"""What grows with the plant and its history: 10 → 10,000 instruments, 10⁵ → 10⁷ readings (or more).

Ingest cost a reading is CPU time of journal and engine; start-up is opening a site until its
figures are known; a batch and a page are asked of a freshly opened site. Slopes are of log-log
fits; a slope of 0 is flat. `python bench/growth_bench.py 1e8` adds a history of 10⁸ readings.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.history import History
from bench.results import record
from dashboards.read_model import ReadModel
from ingest.collector import calm_collector

INSTRUMENTS = (10, 100, 1000, 10_000)
SAME = 2_000_000
"""Readings taken at each number of instruments."""
HISTORIES = (10**5, 10**6, 10**7)
LINES = 5


class Shown:
    """What the pages need of a site, without a server around it."""

    def __init__(self, history: History) -> None:
        self._site = history.site
        self.agent_states: dict[str, dict[str, object]] = {}

    @property
    def engine(self):
        """The engine."""
        return self._site.engine

    def plant(self):
        """The plant."""
        return self._site.plant()


def size(folder: Path) -> int:
    """Bytes of everything below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def middle(work, times: int = 5) -> float:
    """Median seconds of a piece of work."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def slope(points: list[tuple[float, float]]) -> float:
    """Slope of a straight line through log-log points, by least squares."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(max(y, 1e-9)) for _, y in points]
    mx, my = statistics.fmean(xs), statistics.fmean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - mx) ** 2 for x in xs
    )


def by_instruments() -> dict[int, float]:
    """Ingest cost, µs of CPU a reading, by number of instruments."""
    costs = {}
    for instruments in INSTRUMENTS:
        with tempfile.TemporaryDirectory() as name:
            history = History(Path(name), instruments // 2)
            history.grow(SAME)  # every channel is known from here on
            known, history.taking = history.readings, 0.0
            history.grow(SAME)
            costs[instruments] = history.taking / (history.readings - known) * 1e6
            history.site.close()
        print(f"{instruments:>6} instruments: {costs[instruments]:.3f} µs CPU a reading")
    return costs


def by_history(largest: int) -> list[dict[str, float]]:
    """What one site costs as its history grows."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = History(folder, LINES)
        for goal in [n for n in (*HISTORIES, 10**8) if n <= largest]:
            known, history.taking = history.readings, 0.0
            history.grow(goal - known)
            cost = history.taking / (history.readings - known) * 1e6
            history.settle()
            start = statistics.median(history.reopen() for _ in range(3))
            engine = history.site.engine
            names = [batch.id for batch in engine.engine.batches()]
            asked = names[len(names) // 2] if names else ""
            read = ReadModel(Shown(history), engine.wait_change)
            rows.append(
                {
                    "readings": history.readings,
                    "batches": len(names),
                    "ingest_us": cost,
                    "start_s": start,
                    "batch_s": middle(lambda name=asked, e=engine: e.engine.batch(name)),
                    "page_s": middle(read.lines),
                    "journal_bytes": (
                        size(folder / "journal-cold") + (folder / "journal.db").stat().st_size
                    )
                    / history.readings,
                    "segment_bytes": size(folder / "segments") / history.readings,
                }
            )
            print("  ".join(f"{k} {v:,.4g}" for k, v in rows[-1].items()), flush=True)
        history.site.close()
    return rows


def main() -> None:
    """Measure, print, enter."""
    calm_collector()  # as every server of ours does
    largest = int(float(sys.argv[1])) if len(sys.argv) > 1 else HISTORIES[-1]
    costs = by_instruments()
    rows = by_history(largest)
    spread = max(costs.values()) / min(costs.values())
    slopes = {
        name: round(slope([(row["readings"], row[name]) for row in rows]), 3)
        for name in ("ingest_us", "start_s", "batch_s", "page_s")
    }
    last = rows[-1]
    print(f"ingest cost from {INSTRUMENTS[0]} to {INSTRUMENTS[-1]} instruments: × {spread:.2f}")
    print("slopes with history:", slopes)
    unit = (
        f"s to start with {last['readings']:,.0f} readings; ingest cost × {spread:.2f} from "
        f"{INSTRUMENTS[0]} to {INSTRUMENTS[-1]} instruments; slopes {slopes}; bytes a reading: "
        f"journal {last['journal_bytes']:.1f}, segments {last['segment_bytes']:.2f}"
    )
    starts = [round(row["start_s"], 4) for row in rows]
    record("growth", starts[-1], unit, {"start_s": 2.0}, {}, starts, faster_is_less=True)


if __name__ == "__main__":
    main()
