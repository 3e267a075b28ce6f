"""Writes figures into bench/results/latest.json; each bench replaces its own entry."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

LATEST = Path(__file__).parent / "results" / "latest.json"


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
    """Enter a figure; ratios are ours / limit for rates, ours / limit in time for seconds."""
    known = json.loads(LATEST.read_text()) if LATEST.exists() else {}

    def ratio(others: Mapping[str, float]) -> float | None:
        if not others:
            return None
        best = min(others.values()) if faster_is_less else max(others.values())
        return round(figure / best, 4)

    known[name] = {
        "figure": figure,
        "unit": unit,
        "limits": dict(limits),
        "peers": dict(peers),
        "ratio_to_limit": ratio(limits),
        "ratio_to_peer": ratio(peers),
        "runs": list(runs),
    }
    known["machine"] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
