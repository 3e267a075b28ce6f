"""Figures of the benches: `bench/results/latest.json`, `further.json` and the table made of them.

Each bench enters its own figure beside the limits and peers it measured in the same run.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"
FURTHER = FOLDER / "further.json"
"""Figures beside those that are asked for by name."""
TABLE = FOLDER / "latest.md"
MEMBERS = ("figure", "unit", "limits", "peers", "ratio_to_limit", "ratio_to_peer", "runs")
"""Members of each bench's entry."""
BENCHES = {
    "ingest": "ingest_bench",
    "ingest_20": "ingest_bench",
    "ingest_1": "ingest_1_bench",
    "ingest_influx": "ingest_influx_bench",
    "latency": "latency_bench",
    "drain": "drain_bench",
    "recompute": "recompute_bench",
    "restate": "restate_bench",
    "verify": "verify_bench",
    "agent": "agent_bench",
    "growth": "growth_bench",
}
"""Figures and the module that measures each."""
MORE = {
    "recompute_1e8": "recompute_bench",
    "verify_1k": "verify_bench",
    "refresh": "refresh_bench",
}
"""The same for `further.json`."""
ALL = BENCHES | MORE
OPTIONAL = ("recompute_1e8",)
"""Figures a run may leave out: they need more time or memory than every machine has."""
MISSING_STATUS = 3
"""Exit status of a bench whose server or peer is not on this machine."""


def missing(what: str) -> NoReturn:
    """End a bench that cannot be run here, saying what it lacks."""
    print(f"missing: {what}", flush=True)
    raise SystemExit(MISSING_STATUS)


def load(path: Path) -> dict[str, Any]:
    """The entries of a file as they are."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def save(path: Path, entries: Mapping[str, Any]) -> None:
    """Write the entries of a file, the machine with them."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def every() -> dict[str, Any]:
    """The entries of both files."""
    latest, further = load(LATEST), load(FURTHER)
    measured = {
        name: when
        for entries in (latest, further)
        for name, when in entries.get("machine", {}).get("measured", {}).items()
    }
    return {**further, **latest, "machine": {**latest.get("machine", {}), "measured": measured}}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def record(
    name: str,
    figure: float,
    unit: str,
    limits: Mapping[str, float],
    peers: Mapping[str, float],
    runs: Sequence[float],
    *,
    faster_is_less: bool = False,
) -> None:
    """Enter a figure; a ratio is ours / theirs, for rates as for times.

    Of several limits or peers the hardest to reach counts: the highest rate, the shortest time.
    """
    path = LATEST if name in BENCHES else FURTHER
    entries = load(path)

    def ratio(others: Mapping[str, float]) -> float | None:
        if not others:
            return None
        best = min(others.values()) if faster_is_less else max(others.values())
        return round(figure / best, 4)

    entries[name] = {
        "figure": figure,
        "unit": unit,
        "limits": dict(limits),
        "peers": dict(peers),
        "ratio_to_limit": ratio(limits),
        "ratio_to_peer": ratio(peers),
        "runs": list(runs),
    }
    measured = dict(entries.get("machine", {}).get("measured", {}))
    measured[name] = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": os.environ.get("METERPRINT_BENCH_COMMAND")
        or " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }
    entries["machine"] = {**machine(), "measured": measured}
    save(path, entries)


def faults(entries: Mapping[str, Any]) -> list[str]:
    """What is not as the form says; empty = all is."""
    found = [] if isinstance(entries.get("machine"), dict) else ["machine: an object is expected"]
    for name, entry in entries.items():
        if name == "machine":
            continue
        if name not in ALL:
            found.append(f"{name}: not a known bench")
        if not isinstance(entry, dict) or sorted(entry) != sorted(MEMBERS):
            found.append(f"{name}: the members {', '.join(MEMBERS)} are expected")
            continue
        numbers = {"figure": entry["figure"]}
        for group in ("limits", "peers"):
            numbers |= {f"{group}.{key}": value for key, value in entry[group].items()}
        numbers |= {f"runs[{i}]": value for i, value in enumerate(entry["runs"])}
        for member in ("ratio_to_limit", "ratio_to_peer"):
            if entry[member] is not None:
                numbers[member] = entry[member]
        for member, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                found.append(f"{name}.{member}: a number is expected")
        if not entry["runs"]:
            found.append(f"{name}.runs: at least one run is expected")
    return found


def table(entries: Mapping[str, Any], states: Mapping[str, str]) -> str:
    """The entries as a table in Markdown; `states` says what became of each bench in this run."""
    about = entries.get("machine", {})
    measured = about.get("measured", {})
    machine_text = (
        f"Python {about.get('python', '?')}, {about.get('system', '?')}, {about.get('cores', '?')} "
        "cores. Each figure is the median of its runs, limits and peers are of the same run."
    )
    lines = [
        "# Figures",
        "",
        machine_text,
        "",
        "| bench | figure | unit | limit | ratio | peer | ratio | runs | measured | state |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ALL:
        entry = entries.get(name)
        when = measured.get(name, {})
        state = states.get(name, "not run")
        if entry is None:
            lines.append(f"| {name} | – | | | | | | | | {state} |")
            continue
        cells = [
            name,
            _number(entry["figure"]),
            entry["unit"],
            _named(entry["limits"]),
            _number(entry["ratio_to_limit"]),
            _named(entry["peers"]),
            _number(entry["ratio_to_peer"]),
            str(len(entry["runs"])),
            f"{when.get('date', '?')}, `{when.get('command', '?')}`",
            state,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _named(values: Mapping[str, float]) -> str:
    return "<br>".join(f"{name} {_number(value)}" for name, value in values.items()) or "–"
