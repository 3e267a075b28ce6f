"""Runs a program in a share of a core and of memory, by control groups (cgroups(7), v1 and v2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
"""Time in which the share of a core is dealt out, µs."""


def _settings(name: str, core: float, memory: int) -> list[tuple[Path, dict[str, str]]]:
    quota = int(core * PERIOD_US)
    if (ROOT / "cgroup.controllers").exists():
        limits = {"cpu.max": f"{quota} {PERIOD_US}", "memory.max": str(memory)}
        return [(ROOT / name, limits)]
    cpu = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)}
    return [
        (ROOT / "cpu" / name, cpu),
        (ROOT / "memory" / name, {"memory.limit_in_bytes": str(memory)}),
    ]


@contextmanager
def confined(core: float, memory: int) -> Iterator[list[Path]]:
    """Groups that hold a process to `core` of a core and `memory` bytes.

    Yields the files its pid is written to. Raises OSError where the machine does not let us.
    """
    settings = _settings(f"meterprint-bench-{os.getpid()}", core, memory)
    made: list[Path] = []
    try:
        for folder, limits in settings:
            folder.mkdir()
            made.append(folder)
            for name, value in limits.items():
                (folder / name).write_text(value)
        yield [folder / "cgroup.procs" for folder in made]
    finally:
        for folder in made:
            folder.rmdir()
