"""System calls made to fail by strace, one at a time: EIO, ENOSPC, or the process killed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue

from scripts.machine import find
from tests.conftest import REPO
from tests.faults.figures import Progress, reached
from tests.faults.injected import GIVEN_UP

CALLS = (
    "openat", "pwrite64", "write", "fdatasync", "fsync", "ftruncate", "rename", "unlink", "mkdir",
    "link",
)  # fmt: skip
"""Calls of the write path."""
FAULTS = {
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "KILL": "signal=KILL",
}
"""What happens to a call, as strace names it."""
ONCE, FROM_THERE = "", "+"
"""Only this call, or every one of its kind from there on."""


@dataclass(frozen=True, slots=True)
class Point:
    """One call made to fail."""

    call: str
    """Name of the system call."""
    number: int
    """Which of its occurrences, from 1."""
    fault: str
    """EIO, ENOSPC or KILL."""
    then: str = ONCE
    """ONCE or FROM_THERE."""

    @property
    def options(self) -> list[str]:
        """For strace. With --seccomp-bpf strace 6.1 is faster, and sends no signal."""
        how = f"{self.call}:{FAULTS[self.fault]}:when={self.number}{self.then}"
        return [*(["--seccomp-bpf"] if self.fault != "KILL" else []), "-e", f"inject={how}"]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program said before it ended."""

    lines: list[str]
    """Its reports."""
    status: int
    """Exit status."""
    errors: str
    """Its standard error."""

    @property
    def killed(self) -> bool:
        """Whether it was killed, as strace hands on."""
        return self.status in (-9, 137)

    @property
    def done(self) -> int:
        """Steps it reported."""
        return sum(line.startswith("done ") for line in self.lines)

    @property
    def refused(self) -> int:
        """Times it was refused something."""
        return sum(line.startswith("refused ") for line in self.lines)

    @property
    def gave_up(self) -> bool:
        """Whether the disk refused to the end."""
        return self.status == GIVEN_UP


@cache
def why_not() -> str:
    """Why no call can be made to fail here; "" where it can."""
    strace = find("strace")
    if strace is None:
        return "strace"
    done = subprocess.run(
        [strace, "-f", "-e", "inject=fsync:error=EIO", "true"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else f"ptrace ({done.stderr.decode()[-200:].strip()})"


def _run(options: Sequence[str], command: Sequence[str], watched: Sequence[Path]) -> Ran:
    strace = find("strace")
    assert strace is not None
    paths = [part for path in watched for part in ("-P", str(path))]
    options = ["-f", "-e", f"trace={','.join(CALLS)}", *options, *paths]
    done = subprocess.run(
        [strace, *options, sys.executable, *command],
        cwd=REPO,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.stdout.splitlines(), done.returncode, done.stderr)


def occurrences(command: Sequence[str], watched: Sequence[Path], log: Path) -> Counter[str]:
    """How often an undisturbed run makes each call on the watched files."""
    ran = _run(["-o", str(log)], command, watched)
    assert ran.status == 0, ran.errors
    names = re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE)
    return Counter(names)


def run_with(point: Point, command: Sequence[str], watched: Sequence[Path]) -> Ran:
    """Run a program with one call made to fail."""
    return _run(["-o", "/dev/null", *point.options], command, watched)


def files_of(folder: Path) -> list[Path]:
    """The folder and what SQLite keeps in it."""
    return [folder, *(folder / f"store.db{end}" for end in ("", "-wal", "-shm", "-journal"))]


def emptied(folder: Path) -> Path:
    """The folder, new."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def try_all(
    what: str, chosen: Sequence[Point], base: Path, check: Callable[[Point, Path], None]
) -> None:
    """Check every point, on as many processors as there are, each in a folder of its own."""
    folders: SimpleQueue[Path] = SimpleQueue()
    for number in range(os.cpu_count() or 1):
        folders.put(base / str(number))

    def one(point: Point) -> None:
        folder = folders.get()
        try:
            check(point, folder)
        finally:
            folders.put(folder)

    progress = Progress(f"injections, {what}", len(chosen))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done, _ in enumerate(pool.map(one, chosen)):
            progress.at(done + 1)
    reached(f"injections, {what}", len(chosen))
