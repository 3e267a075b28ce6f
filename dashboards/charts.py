"""Bars of contributions: words in HTML, the bar itself as SVG, so that both fit any width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dashboards.format import rounded, significant
from footprint.batch import BatchResult, Part

SCALE = 1000
"""Width of the longest bar in the bar's own units."""
PART_CLASSES = {
    Part.DIRECT: "p-direct",
    Part.TAGGED: "p-direct",
    Part.CHANGEOVER: "p-change",
    Part.IDLE: "p-idle",
    Part.UNATTRIBUTED: "p-none",
    Part.SHARED: "p-shared",
    Part.SUBSTITUTED: "p-filled",
}
"""Style class of each part; what is nobody's or estimated never looks like what was metered."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a bar."""

    css: str
    """Style class."""
    x: float
    """Start, 0 to SCALE."""
    width: float
    """Length, 0 to SCALE."""
    title: str
    """Part and amount in words."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One emission source of a batch."""

    source: str
    """Emission source."""
    pieces: tuple[Piece, ...]
    """Its parts from left to right."""
    value: str
    """kgCO2e and its share of the batch, in words."""


def bars(result: BatchResult, part_name: Callable[[str], str]) -> list[Bar]:
    """Where a batch's carbon came from, largest first; sources that gave none are left out."""
    rows = sorted((s for s in result.sources if s.burden), key=lambda s: (-s.burden, s.source))
    if not rows:
        return []
    largest, total = float(rows[0].burden), float(result.footprint)
    found = []
    for row in rows:
        x = 0.0
        pieces = []
        for part, amount in row.parts:
            share = float(amount / row.corrected) if row.corrected else 0.0
            width = max(SCALE * float(row.burden) / largest * share, 0.0)
            burden = significant(float(row.burden) * share, 3)
            title = f"{part_name(part.value)} {burden} kgCO₂e"
            pieces.append(Piece(PART_CLASSES[part], round(x, 1), round(width, 1), title))
            x += width
        percent = f" · {rounded(100 * float(row.burden) / total, 1)} %" if total else ""
        value = f"{significant(float(row.burden), 3)} kgCO₂e{percent}"
        found.append(Bar(row.source, tuple(pieces), value))
    return found


def legend(result: BatchResult, part_name: Callable[[str], str]) -> list[tuple[str, str]]:
    """(style class, words) of the parts that occur, in the order of `Part`."""
    seen = {part for row in result.sources for part, amount in row.parts if amount}
    words: dict[str, list[str]] = {}
    for part in Part:
        if part in seen:
            words.setdefault(PART_CLASSES[part], []).append(part_name(part.value))
    return [(css, ", ".join(names)) for css, names in words.items()]
