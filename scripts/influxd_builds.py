"""Builds influxd 1.8.10, with Go alone, and 2.9.1, which has a part in Rust."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from scripts.debian import install
from scripts.go_builds import OLDEST_GO, go_install, go_program
from scripts.machine import Answer, cache, find, root_prefix, run, say

INFLUX_VERSION = "1.8.10"
INFLUX_MODULE = f"github.com/influxdata/influxdb/cmd/influxd@v{INFLUX_VERSION}"
INFLUX2_VERSION = "2.9.1"
INFLUX2_PACKAGE = "github.com/influxdata/influxdb/v2/cmd/influxd"
INFLUX2_TAGS = "sqlite_foreign_keys,sqlite_json"
INFLUX2_SHIM = "github.com/influxdata/pkg-config@v0.3.0"
"""Stands before the system's pkg-config and builds the Rust part of flux."""
INFLUX2_GO_MOD = """module influxd.build

go 1.26

replace github.com/nats-io/nats-streaming-server v0.11.2 => \
github.com/influxdata/nats-streaming-server v0.11.3-0.20201112040610-c277f7560803
""".replace("\\\n", "")
"""A module of our own: `go install` refuses a module that replaces another, as influxd's does."""
INFLUX2_GO = (1, 26)
"""influxd 2.9.1 asks for Go 1.25.10 or newer."""
INFLUX2_RUST = (1, 83)
"""The first Rust that builds flux's crates."""
LENIENT_RUSTC = """#!/bin/sh
case " $* " in *" --cap-lints "*) exec "$@" ;; *) exec "$@" --cap-lints warn ;; esac
"""
"""flux denies warnings; a newer compiler has new ones."""


def influxd_path(version: str = INFLUX_VERSION) -> Path:
    """Where influxd is, or will be."""
    return cache() / f"influxd-{version}" / "influxd"


def influxd(*, look: bool) -> Answer:
    """Build influxd where it is not in the cache; only look where told so."""
    target = influxd_path()
    if target.exists():
        return Answer("ok", str(target))
    remedy = f"install Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer, then make servers"
    go = None if look else go_program()
    if go is None:
        return Answer("missing", remedy)
    say(f"building influxd {INFLUX_VERSION} into {target.parent} (about a minute)")
    flags = [f"-ldflags=-s -w -X main.version={INFLUX_VERSION}"]
    if not go_install(go, [*flags, INFLUX_MODULE], target, toolchain="local"):
        return Answer("missing", remedy)
    return Answer("installed", str(target))


def influxd2(*, look: bool) -> Answer:
    """Build influxd 2 where it is not in the cache; only look where told so."""
    target = influxd_path(INFLUX2_VERSION)
    if target.exists():
        return Answer("ok", str(target))
    lacking = [p for p in ("gcc", "pkg-config") if not find({"gcc": "cc"}.get(p, p))]
    prefix = None if look or not lacking or not find("apt-get") else root_prefix()
    if prefix is not None and install(prefix, lacking):
        lacking = []
    wanted = [f"sudo apt-get install {' '.join(lacking)}"] if lacking else []
    wanted += [f"install {fault}" for fault in [rust_fault()] if fault]
    go = None if look or wanted else go_program(INFLUX2_GO)
    if go is None:
        wanted += [f"Go {INFLUX2_GO[0]}.{INFLUX2_GO[1]} or newer"] if not (look or wanted) else []
        return Answer("missing", ", ".join([*wanted, "make servers"]))
    say(f"building influxd {INFLUX2_VERSION} into {target.parent} (four to ten minutes)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        work = Path(name)
        built = work / "influxd"
        if not build_influxd2(go, work, built):
            return Answer("missing", f"see the messages above, then make servers ({target})")
        built.replace(target)
    return Answer("installed", str(target))


def rust_fault() -> str:
    """What is wrong with the Rust here, as words for a remedy; "" where it can build influxd 2."""
    wanted = f"Rust {INFLUX2_RUST[0]}.{INFLUX2_RUST[1]} or newer (https://rustup.rs)"
    program = find("cargo")
    if program is None or find("rustc") is None:
        return wanted
    done = subprocess.run(
        [program, "--version"], env=rust_environment(), capture_output=True, text=True, check=False
    )
    match = re.search(r"\bcargo (\d+)\.(\d+)", done.stdout)
    fits = match is not None and (int(match[1]), int(match[2])) >= INFLUX2_RUST
    return "" if fits else wanted


def rust_environment() -> dict[str, str]:
    """The environment, with rustup told to overlook the old compiler that flux pins."""
    stable = {"RUSTUP_TOOLCHAIN": "stable"} if find("rustup") else {}
    return {**os.environ, **stable}


def build_influxd2(go: str, work: Path, built: Path) -> bool:
    """Build influxd 2, without the pages of its own interface, in an empty folder."""
    (work / "go.mod").write_text(INFLUX2_GO_MOD)
    wrapper = work / "rustc-lenient"
    wrapper.write_text(LENIENT_RUSTC)
    wrapper.chmod(0o755)
    environment = {
        **rust_environment(),
        "CGO_ENABLED": "1",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOPATH": f"{work}/path",
        "GOBIN": f"{work}/bin",
        "GOCACHE": f"{work}/cache",
        "PKG_CONFIG": f"{work}/bin/pkg-config",
        "RUSTC_WRAPPER": str(wrapper),
    }
    flags = f"-s -w -X main.version={INFLUX2_VERSION}"
    return (
        run([go, "install", INFLUX2_SHIM], **environment)
        and run(
            [go, "-C", str(work), "get", "-tool", f"{INFLUX2_PACKAGE}@v{INFLUX2_VERSION}"],
            **environment,
        )
        and run(
            [
                *(go, "-C", str(work), "build", "-mod=mod", "-trimpath", "-o", str(built)),
                *(f"-ldflags={flags}", "-tags", INFLUX2_TAGS, INFLUX2_PACKAGE),
            ],
            **environment,
        )
    )
