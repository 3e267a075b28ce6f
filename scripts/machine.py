"""What the scripts that bring servers ask of a machine: programs, a cache, commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PROGRAMS = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts servers; not on the PATH of a user."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one server."""

    state: str
    """ok, installed or missing."""
    detail: str
    """Where it is; where it is missing, what to do."""


def cache() -> Path:
    """Where built and unpacked servers are kept."""
    return Path(os.environ.get("METERPRINT_CACHE") or Path.home() / ".cache" / "meterprint")


def find(program: str) -> str | None:
    """Path of a program: on the PATH, among the system's, or unpacked in the cache."""
    for path in (None, SYSTEM_PROGRAMS, str(cache() / "bin")):
        found = shutil.which(program, path=path)
        if found:
            return found
    return None


def say(text: str) -> None:
    """Tell what is being done; standard output is for the report."""
    print(text, file=sys.stderr, flush=True)


def run(command: Sequence[str], **extra: str) -> bool:
    """Run a command quietly, its output is shown where it fails; True where it succeeds."""
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        say(f"$ {shlex.join(command)}\n{done.stdout[-3000:]}")
    return done.returncode == 0


def root_prefix() -> list[str] | None:
    """What to put before a command that needs root; None where we cannot be root."""
    if os.geteuid() == 0:
        return []
    sudo = find("sudo")
    if sudo is None:
        return None
    asked = subprocess.run([sudo, "-n", "true"], check=False, capture_output=True)
    return [sudo, "-n"] if asked.returncode == 0 else None
