"""The fault harness in its long form: `make faults`; the last line is `N passed, N failed`.

Every number can be set in the environment; what is set there already stays.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

LONG = {
    "METERPRINT_KILLS": "340",
    "METERPRINT_KILL_READINGS": "1000000",
    "METERPRINT_CUTS": "100000",
    "METERPRINT_HOSTILE": "1000000",
    "METERPRINT_API_EXAMPLES": "2000",
}
"""Sizes of the long form: kills of each program, readings, power cuts of each store, mutations."""


class Tally:
    """Counts outcomes as pytest reports them."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: by its call, or by its set-up where that fails or skips."""
        if report.when == "call" or report.outcome != "passed":
            self.passed += report.passed
            self.failed += report.failed
            self.skipped += report.skipped


def main() -> int:
    """Run every fault test in its long form; 0 where none failed."""
    for name, value in LONG.items():
        os.environ.setdefault(name, value)
    tally = Tally()
    places = [str(Path(__file__).parent), "tests/dashboards/test_api_storm.py"]
    status = pytest.main([*places, "-v", "-rs", *sys.argv[1:]], plugins=[tally])
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    sys.stdout.write(f"{tally.passed} passed, {tally.failed} failed{skipped}\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
