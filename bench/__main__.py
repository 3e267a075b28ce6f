"""Runs every bench, one after the other, and writes the table: `make bench`.

A bench that fails or takes too long does not keep the others from running; one whose server or
peer is not on this machine is named as missing. The exit status is 1 where one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench.results import ALL, MISSING_STATUS, OPTIONAL, TABLE, every, table

TIMEOUT_S = 900
"""Longest time of one bench, s; a module of several figures has as much for each."""


def modules(wanted: list[str]) -> list[str]:
    """Modules to run, each once; also ones that are in the folder and not in the list."""
    names = list(dict.fromkeys(ALL[name] for name in wanted))
    if set(wanted) == set(ALL):
        names += sorted(
            path.stem for path in Path(__file__).parent.glob("*_bench.py") if path.stem not in names
        )
    return names


def run(module: str, timeout: float) -> str:
    """Run one bench with its output shown; ok, failed: …, or missing: …"""
    path = Path(__file__).parent / f"{module}.py"
    if not path.exists():
        return "missing: the bench is not written"
    process = subprocess.Popen(
        [sys.executable, "-u", str(path)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said: list[str] = []
    reader = threading.Thread(target=_show, args=(process, said))
    reader.start()
    code = None
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        print(f"  not done after {timeout:.0f} s: ended", flush=True)
    finally:
        if code is None:
            end(process)
    reader.join(10)
    last = said[-1] if said else ""
    if code is None:
        return f"failed: not done after {timeout:.0f} s"
    if code == MISSING_STATUS:
        return last if last.startswith("missing") else f"missing: {last}"
    return "ok" if code == 0 else f"failed: exit status {code}, {last[:200]}"


def end(process: subprocess.Popen[str]) -> None:
    """End a bench and whatever it has started, each by its id, also what left its session."""
    family = [process.pid, *descendants(process.pid)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)


def descendants(pid: int) -> list[int]:
    """Ids of the processes under one, by proc(5)."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _show(process: subprocess.Popen[str], said: list[str]) -> None:
    """Print what the bench writes as it comes."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            print(f"  {line.rstrip()}", flush=True)
            said.append(line.strip())


def main() -> int:
    """Run the benches named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", nargs="*", help=f"of {', '.join(ALL)}; none = all")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="s for each figure")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a running bench is ended
    unknown = sorted(set(options.bench) - set(ALL))
    if unknown:
        parser.error(f"no bench is called {unknown[0]}; there are {', '.join(ALL)}")
    wanted = options.bench or list(ALL)
    os.environ["METERPRINT_BENCH_COMMAND"] = (
        "make bench" if not options.bench else f"python -m bench {' '.join(options.bench)}"
    )
    states: dict[str, str] = {}
    planned = modules(wanted)
    for place, module in enumerate(planned):
        figures = [name for name, of in ALL.items() if of == module]
        print(f"[{place + 1}/{len(planned)}] {module}", flush=True)
        before = every()["machine"]["measured"]
        started = time.monotonic()
        state = run(module, options.timeout * max(len(figures), 1))
        after = every()["machine"]["measured"]
        for name in figures:
            fresh = after.get(name) is not None and after.get(name) != before.get(name)
            states[name] = state
            if state == "ok" and not fresh:
                states[name] = "not run" if name in OPTIONAL else "failed: entered no figure"
        if not figures:
            states[module] = state
        print(
            f"[{place + 1}/{len(planned)}] {state} ({time.monotonic() - started:.0f} s)", flush=True
        )
    text = table(every(), states)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text)
    print(f"\n{text}")
    bad = {name: state for name, state in states.items() if state.startswith("failed")}
    absent = {name: state for name, state in states.items() if state.startswith("missing")}
    for name, state in (*bad.items(), *absent.items()):
        print(f"{name}: {state}")
    return int(bool(bad) or bool(absent and os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main())
