"""The fault harness in its long form: `make faults`; the last line is `N passed, N failed`.

`python -m tests.faults [PART …] [--again] [-- PYTEST OPTIONS]`. Each part is reported as it ends,
with the figures it reached, and remembered beside the sizes it was run with: a run that was
interrupted goes on with the parts that are left. Sizes are taken from the environment where they
are set there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.figures import OUT, taken

FOLDER = Path(__file__).parent
REMEMBERED = Path(os.environ.get("METERPRINT_FAULTS_REPORT", ".faults.json"))
"""Where parts that have passed are remembered, by the commit and the sizes they were run with."""
SIZES = {
    "METERPRINT_KILLS": "1000",
    "METERPRINT_KILL_READINGS": "1000000",
    "METERPRINT_KILL_EACH": "200",
    "METERPRINT_INJECT": "0",
    "METERPRINT_CUTS": "100000",
    "METERPRINT_NETWORK_ENVELOPES": "2000",
    "METERPRINT_NETWORK_CUTS": "25",
    "METERPRINT_NETWORK_GONE_S": "60",
    "METERPRINT_ENOSPC": "20",
    "METERPRINT_FLOOD": "50000",
    "METERPRINT_HOSTILE": "500000",
    "METERPRINT_HOSTILE_TOPICS": "20000",
    "METERPRINT_FLIPS": "2000",
    "METERPRINT_API_EXAMPLES": "2000",
}
"""Sizes of the long form; what each means stands where it is read. Hostile input comes to 3½ times
its size, in eight kinds."""
PARTS: dict[str, tuple[Path, ...]] = {
    "power": (FOLDER / "test_power_cut.py",),
    "kills": (FOLDER / "test_kill.py",),
    "injection": (FOLDER / "test_injection.py",),
    "network": (FOLDER / "test_network.py",),
    "disks": (FOLDER / "test_disk_full.py", FOLDER / "test_old_disks.py"),
    "restore": (FOLDER / "test_restore.py",),
    "journal": (
        FOLDER.parent / "ingest" / "test_journal_flips.py",
        FOLDER.parent / "ingest" / "test_journal_power.py",
        FOLDER.parent / "meterprint" / "test_backup.py",
    ),
    "flood": (FOLDER / "test_flood.py",),
    "hostile": (FOLDER / "test_hostile.py", FOLDER / "test_hostile_ingest.py"),
    "interface": (FOLDER.parent / "dashboards" / "test_api_storm.py",),
}
"""What can be run by itself."""


class Tally:
    """Counts outcomes as pytest reports them."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: by its call, or by its set-up or end where that fails or skips."""
        if report.when == "call" or report.outcome != "passed":
            self.passed += report.passed
            self.failed += report.failed
            self.skipped += report.skipped


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a part."""

    passed: int
    """Tests."""
    failed: int
    """Tests, or one where the part did not run at all."""
    skipped: int
    """Tests whose server is missing."""
    seconds: float
    """How long it took."""
    figures: dict[str, float]
    """What was reached."""


def run(part: str, options: Sequence[str]) -> Ended:
    """Run one part and say what it came to."""
    tally, started = Tally(), time.monotonic()
    say(f"== {part}")
    paths = [str(path) for path in PARTS[part]]
    status = pytest.main([*paths, "-v", "-rs", *options], plugins=[tally])
    no_tests = status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    failed = max(tally.failed, int(no_tests))
    seconds = round(time.monotonic() - started, 1)
    return Ended(tally.passed, failed, tally.skipped, seconds, taken())


def say(text: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(part: str, ended: Ended) -> str:
    """One part in one line, with its figures below."""
    figures = "".join(f"\n   {name}: {count:,.0f}" for name, count in ended.figures.items())
    outcome = f"{ended.passed} passed, {ended.failed} failed, {ended.skipped} skipped"
    return f"-- {part}: {outcome}, {ended.seconds:.0f} s{figures}"


def sources() -> str:
    """Newest change of what the parts depend on: a part is run again after any edit."""
    repo = FOLDER.parent.parent
    roots = ("mrv", "footprint", "edge_agent", "ingest", "meterprint", "tests/faults")
    newest = max(p.stat().st_mtime_ns for root in roots for p in (repo / root).rglob("*.py"))
    return str(newest)


def main() -> int:
    """Run the parts asked for, or all; 0 where none failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--again", action="store_true", help="also what has passed already")
    arguments, options = parser.parse_known_args()
    options = [option for option in options if option != "--"]
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"no part is called {unknown[0]}: {', '.join(PARTS)}")
    OUT.append(os.fdopen(os.dup(2), "w"))
    for name, value in SIZES.items():
        os.environ.setdefault(name, value)
    ran_with = {"sources": sources(), **{name: os.environ[name] for name in SIZES}}
    known = json.loads(REMEMBERED.read_text()) if REMEMBERED.exists() else {}
    done = known.get("parts", {}) if known.get("ran_with") == ran_with else {}
    report: dict[str, Ended] = {}
    for part in arguments.parts or PARTS:
        if part in done and not arguments.again and not options:
            report[part] = Ended(**done[part])
            say(f"== {part} has passed already; --again runs it again")
            continue
        report[part] = run(part, options)
        say(line(part, report[part]))
        if not report[part].failed and not report[part].skipped and not options:
            ended = report[part]
            done[part] = {name: getattr(ended, name) for name in Ended.__slots__}
            REMEMBERED.write_text(json.dumps({"ran_with": ran_with, "parts": done}, indent=1))
    say("\n" + "\n".join(line(part, ended) for part, ended in report.items()))
    passed = sum(ended.passed for ended in report.values())
    failed = sum(ended.failed for ended in report.values())
    skipped = sum(ended.skipped for ended in report.values())
    say(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
