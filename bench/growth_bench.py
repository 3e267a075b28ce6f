"""What grows with the plant and its history.

Three parts: 10 → 10,000 instruments, 10⁵ → 10⁷ readings of history, 10² → 10⁴ batches; `--long`
goes to 10⁸ readings and 10⁵ batches. What an envelope is and how many streams and agents a site
has says `bench/history.py`; it is the same at every size. Costs are CPU time, so that other work
on the machine disturbs little.

Ingest is journal, index, tail and segments of envelopes that are verified and parsed (those two
stages know nothing of the site's size and are in `ingest_bench`). It is measured over eight whole
segments, and so is what merging takes, which a site does beside it. Start-up is opening a site
until its figures are known. Pages are asked of the application itself, over its HTTP interface,
without a socket. Slopes are of log-log fits over sizes; 0 is flat.

What is asked for is the same at every size: lists of the interface with so many rows as the
smallest site has, and one batch of the same length, looked at for the first time (`batch_first`)
and again. The history therefore begins with short batches, enough of them to fill a page, of which
one is asked for; the batches of a day that follow are in columns of their own (`day_first`, `day`)
from the size on that has one. Pages of instruments and lines are not made alike: with ten
instruments they have ten rows (the search one), with more of them a hundred, and the slope has that
in it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


from bench.asked import Asked
from bench.history import History
from bench.results import record
from dashboards.app import create_app
from dashboards.read_model import ReadModel
from ingest.collector import calm_collector
from ingest.engine_intake import EACH_CHANNEL, SEGMENT
from ingest.manifest import FAN_IN
from ingest.origins import Place

INSTRUMENTS = (10, 100, 1000, 10_000)
HISTORIES = (10**5, 10**6, 10**7, 10**8)
BATCHES = (10**2, 10**3, 10**4, 10**5)
LINES = 5
SHORT_S = 100
"""Period of the batches where there are to be many, s."""
PAGES = {
    "home": "/",
    "batches": "/batches",
    "batch": "/batches/{batch}",
    "meters": "/meters",
    "api_lines": "/api/v1/lines?count=5",
    "api_batches": "/api/v1/batches",
    "api_batch": "/api/v1/batches/{batch}",
    "api_meters": "/api/v1/meters?count=10",
    "search": "/meters?q=own3",
}
ASKED = [*PAGES, "batch_first"]
"""Figures of pages."""
FIRST = 7
"""Batches whose first view is measured."""
EARLY = (24, 400)
"""Short periods at the beginning of a long history, and their length, s: 120 batches of 167 s."""


class Shown:
    """What the pages need of a site, without a server around it."""

    def __init__(self, history: History) -> None:
        self._site = history.site
        self.agent_states: dict[str, object] = {}
        self.arrivals: dict[str, int] = {}

    @property
    def engine(self):
        """The engine."""
        return self._site.engine

    def plant(self):
        """The plant."""
        return self._site.plant()

    def troubles(self) -> list[object]:
        """Nothing keeps the site from being up to date."""
        return []

    def quarantined(self) -> dict[str, int]:
        """Nothing was refused."""
        return {}

    def journal_head(self) -> tuple[int, str]:
        """Number of entries and root."""
        return self._site.journal.size, self._site.journal.root().hex()

    def index_of(self, identity: str) -> int | None:
        """Index of an entry of the journal."""
        return self._site.journal.index_of(identity)

    def indexes(self, epoch: Place, first: int, last: int) -> dict[int, list[int]]:
        """Indexes of the envelopes of an epoch by number."""
        return self._site.journal.indexes(epoch, first, last)


def size(folder: Path) -> int:
    """Bytes of everything below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def memory(name: str = "RssAnon") -> float:
    """Memory of this process, MB (proc(5)); pages of mapped files can be taken back any time."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def middle(work: Callable[[], object], times: int = 5) -> float:
    """Median CPU milliseconds of a piece of work, after one that does not count."""
    work()
    took = []
    for _ in range(times):
        started = time.process_time()
        work()
        took.append(time.process_time() - started)
    return statistics.median(took) * 1e3


def slope(points: list[tuple[float, float]]) -> float:
    """Slope of a straight line through log-log points, by least squares."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(max(y, 1e-9)) for _, y in points]
    mx, my = statistics.fmean(xs), statistics.fmean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - mx) ** 2 for x in xs
    )


def slopes(rows: list[dict[str, float]], over: str, names: list[str]) -> dict[str, float]:
    """Slopes of some figures with a size."""
    return {name: round(slope([(row[over], row[name]) for row in rows]), 3) for name in names}


@contextmanager
def fresh(lines: int, period: int, early: tuple[int, int] = (0, 0)) -> Iterator[History]:
    """A site in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        history = History(Path(name), lines, period, early)
        yield history
        history.site.close()


def pages(history: History, near: str = "") -> dict[str, float]:
    """CPU milliseconds of pages and of the same questions of the HTTP interface.

    The batch asked for is `near`, else the one in the middle.
    """
    engine = history.site.engine
    read = ReadModel(Shown(history), engine.changes.wait)
    names = [batch.id for batch in engine.engine.batches()]
    place = names.index(near) if near else len(names) // 2
    asked = names[place] if names else "none"
    app = create_app(read, lambda: "")
    found = {}
    with Asked(app) as client:
        client.get("/batches/none")
        for name, path in PAGES.items():
            address = path.format(batch=asked)
            answer = client.get(address)
            assert answer.status_code == 200 or not names, (address, answer.text[:300])
            found[name] = middle(lambda address=address: client.get(address))
        found["batch_first"] = first(client, names[place + 1 : place + 1 + FIRST])
    return found


def first(client: Asked, names: list[str]) -> float:
    """Median CPU milliseconds of pages of batches nobody has looked at yet."""
    took = []
    for name in names:
        started = time.process_time()
        client.get(f"/batches/{name}")
        took.append(time.process_time() - started)
    return statistics.median(took) * 1e3 if took else 0.0


def days(history: History) -> dict[str, float]:
    """CPU milliseconds of the page of a day's batch, looked at for the first time and again."""
    engine = history.site.engine
    names = [batch.id for batch in engine.engine.batches()][EARLY[0] * LINES :]
    if not names:
        return {}
    read = ReadModel(Shown(history), engine.changes.wait)
    with Asked(create_app(read, lambda: "")) as client:
        client.get("/batches/none")
        place = len(names) // 2
        seen = first(client, names[place : place + FIRST])
        return {
            "day_first": seen,
            "day": middle(lambda: client.get(f"/batches/{names[place]}")),
        }


def first_meters(history: History) -> float:
    """CPU milliseconds of the first list of meters after a start, nothing warmed before."""
    app = create_app(ReadModel(Shown(history), history.site.engine.changes.wait), lambda: "")
    with Asked(app) as client:
        started = time.process_time()
        assert client.get("/meters").status_code == 200
        return (time.process_time() - started) * 1e3


def show(row: dict[str, float]) -> None:
    """Print a row of figures."""
    print("  " + "  ".join(f"{name} {value:,.4g}" for name, value in row.items()), flush=True)


def by_instruments() -> list[dict[str, float]]:
    """Ingest cost, µs of CPU a reading, and the pages, by number of instruments."""
    rows = []
    for instruments in INSTRUMENTS:
        with fresh(instruments // 2, 1200) as history:
            segment = max(SEGMENT, EACH_CHANNEL * instruments)
            history.grow(max(segment, 500_000))  # every channel is known from here on
            known, history.taking, history.merging = history.readings, 0.0, 0.0
            history.grow(FAN_IN * segment)
            taken = history.readings - known
            row = {
                "instruments": float(instruments),
                "ingest_us": history.taking / taken * 1e6,
                "merge_us": history.merging / taken * 1e6,
            }
            history.settle()
            row["start_s"] = history.reopen()
            row["first_meters"] = first_meters(history)
            row |= pages(history)
            row["rss_mb"] = memory()
            rows.append(row)
            show(row)
    return rows


def parts(folder: Path, readings: int) -> dict[str, float]:
    """Bytes a reading on the disk, by part."""
    segments = folder / "segments"
    found = {
        "cold": size(folder / "journal-cold"),
        "database": sum(path.stat().st_size for path in folder.glob("journal.db*")),
        "segments": sum(path.stat().st_size for path in segments.glob("segment-*")),
        "index": sum(path.stat().st_size for path in segments.glob("index-*")),
        "results": sum(path.stat().st_size for path in folder.glob("results.db*")),
    }
    return {f"{name}_b": value / readings for name, value in found.items()}


def by_history(largest: int) -> list[dict[str, float]]:
    """What one site costs as its history grows."""
    rows = []
    with fresh(LINES, 86_400, EARLY) as history:
        for goal in [n for n in HISTORIES if n <= largest]:
            known, history.taking = history.readings, 0.0
            history.merging = history.rotating = 0.0
            history.grow(goal - known)
            taken = (history.readings - known) / 1e6
            row = {
                "readings": float(history.readings),
                "ingest_us": history.taking / taken,
                "merge_us": history.merging / taken,
                "rotate_us": history.rotating / taken,
            }
            history.settle()
            row["rss_mb"] = memory()
            row["start_s"] = statistics.median(history.reopen() for _ in range(3))
            engine = history.site.engine
            names = [batch.id for batch in engine.engine.batches()]
            row["closed"] = float(len(names))
            if whole := names[EARLY[0] * LINES :]:  # batches of a day
                asked = whole[len(whole) // 2]
                row["close_ms"] = middle(lambda n=asked, e=engine: e.engine.batch(n))
            row |= pages(history, f"d{EARLY[0] // 2}-l0")
            row |= days(history)
            row |= parts(history.folder, history.readings)
            rows.append(row)
            show(row)
    return rows


def by_batches(largest: int) -> list[dict[str, float]]:
    """What the pages cost as batches become more."""
    rows = []
    with fresh(LINES, SHORT_S) as history:
        for goal in [n for n in BATCHES if n <= largest]:
            seconds = (goal // LINES + 1) * SHORT_S
            history.grow(seconds * 2 * LINES - history.readings)
            history.settle()
            row = {
                "closed": float(len(history.site.engine.results)),
                "start_s": history.reopen(),
                **pages(history),
                "rss_mb": memory(),
            }
            rows.append(row)
            show(row)
    return rows


def main() -> None:
    """Measure, print, enter."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--long", action="store_true", help="10⁸ readings and 10⁵ batches")
    options.add_argument(
        "--part", choices=("instruments", "history", "batches"), help="this alone, not entered"
    )
    chosen = options.parse_args()
    calm_collector()  # as every server of ours does
    far = -1 if chosen.long else -2
    sites, rows, many = [], [], []
    if chosen.part in (None, "instruments"):
        print("by instruments", flush=True)
        sites = by_instruments()
        spread = max(r["ingest_us"] for r in sites) / min(r["ingest_us"] for r in sites)
        print(f"ingest cost from {INSTRUMENTS[0]} to {INSTRUMENTS[-1]} instruments: × {spread:.2f}")
        print("slopes with instruments:", slopes(sites, "instruments", [*ASKED, "start_s"]))
    if chosen.part in (None, "history"):
        print("by readings of history", flush=True)
        rows = by_history(HISTORIES[far])
        print("slopes with history:", slopes(rows, "readings", ["ingest_us", "start_s", *ASKED]))
        print(f"largest resident memory, mapped files included: {memory('VmHWM'):.0f} MB")
    if chosen.part in (None, "batches"):
        print("by batches", flush=True)
        many = by_batches(BATCHES[far])
        print("slopes with batches:", slopes(many, "closed", [*ASKED, "start_s"]))
    if chosen.part is None:
        enter(sites, rows, many)


def enter(
    sites: list[dict[str, float]], rows: list[dict[str, float]], many: list[dict[str, float]]
) -> None:
    """Put the figures where `make bench` reads them."""
    last = rows[-1]
    spread = max(r["ingest_us"] for r in sites) / min(r["ingest_us"] for r in sites)
    steepest = {
        over: max(slopes(found, over, ASKED).items(), key=lambda pair: pair[1])
        for over, found in (("instruments", sites), ("readings", rows), ("closed", many))
    }
    said = ", ".join(f"{name} {value} with {over}" for over, (name, value) in steepest.items())
    kept = last["cold_b"] + last["database_b"]
    unit = (
        f"s to start with {last['readings']:,.0f} readings; ingest cost × {spread:.2f} from "
        f"{INSTRUMENTS[0]} to {INSTRUMENTS[-1]} instruments, × "
        f"{max(r['ingest_us'] for r in rows) / min(r['ingest_us'] for r in rows):.2f} with history;"
        f" steepest pages: {said}; bytes a reading: journal {kept:.1f}, segments "
        f"{last['segments_b']:.2f}; {last['rss_mb']:.0f} MB of memory"
    )
    starts = [round(row["start_s"], 4) for row in rows]
    record("growth", starts[-1], unit, {"start_s": 2.0}, {}, starts, faster_is_less=True)


if __name__ == "__main__":
    main()
