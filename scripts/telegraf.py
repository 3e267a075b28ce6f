"""Builds Telegraf, the peer of a bench, into the cache beside the servers; `--check` only looks.

It is no part of `make servers`: nothing but a comparison needs it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.go_builds import go_install, go_program
from scripts.machine import Answer, cache, say

VERSION = "1.39.3"
MODULE = f"github.com/influxdata/telegraf/cmd/telegraf@v{VERSION}"
PARTS = (
    "custom,inputs.mqtt_consumer,outputs.influxdb,outputs.influxdb_v2,outputs.file,"
    "parsers.json_v2,parsers.influx,serializers.influx"
)
"""Build tags of the plugins a comparison needs; with all of them it takes ten times as long."""


def telegraf_path() -> Path:
    """Where Telegraf is, or will be."""
    return cache() / f"telegraf-{VERSION}" / "telegraf"


def telegraf(*, look: bool) -> Answer:
    """Build Telegraf where it is not in the cache; only look where told so.

    Its module asks for a Go as new as itself: go may fetch one (GOTOOLCHAIN=auto).
    """
    target = telegraf_path()
    if target.exists():
        return Answer("ok", str(target))
    remedy = "install Go, then python scripts/telegraf.py"
    go = None if look else go_program()
    if go is None:
        return Answer("missing", remedy)
    say(f"building Telegraf {VERSION} into {target.parent} (about half a minute)")
    flags = ["-ldflags=-s -w", "-tags", PARTS]
    if not go_install(go, [*flags, MODULE], target, toolchain="auto"):
        return Answer("missing", remedy)
    return Answer("installed", str(target))


def main() -> int:
    """Build it and print one line. It is a peer, so a machine without it is no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="look only, build nothing")
    answer = telegraf(look=parser.parse_args().check)
    print(f"{'telegraf':<10} {answer.state:<10} {answer.detail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
