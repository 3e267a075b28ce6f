"""Charts drawn on the server as SVG: real text, links and the same picture in print."""

from __future__ import annotations

from html import escape

from dashboards.format import rounded, significant
from footprint.batch import BatchResult
from footprint.plant import PlantModel

ROW = 34
"""Height of a row, px."""
LABEL = 210
"""Width of the labels, px."""
BAR = 330
"""Width of the longest bar, px."""
VALUE = 190
"""Width of the values, px."""
PART_CLASSES = {
    "direct": "p-direct",
    "tagged": "p-direct",
    "changeover": "p-change",
    "idle": "p-idle",
    "unattributed": "p-unatt",
    "shared": "p-shared",
}
"""Style class of each part."""


def contributions(result: BatchResult, plant: PlantModel | None, language: str) -> str:
    """Bars of where a batch's carbon came from, largest first; a bar shows its parts."""
    rows = sorted(result.sources, key=lambda s: -s.burden)
    rows = [row for row in rows if row.burden]
    if not rows:
        return ""
    names = {s.id: s.name for s in plant.sources} if plant else {}
    largest = float(rows[0].burden)
    total = float(result.footprint)
    width, height = LABEL + BAR + VALUE, ROW * len(rows) + 6
    box = f'viewBox="0 0 {width} {height}" preserveAspectRatio="xMinYMin meet"'
    parts = [f'<svg class="bars" role="img" {box}>']
    for place, row in enumerate(rows):
        y = place * ROW + 4
        local = names.get(row.source)
        label = (local.zh if language == "zh" else local.en) if local else row.source
        parts.append(
            f'<a href="#source-{escape(row.source)}"><text x="{LABEL - 10}" y="{y + 17}" '
            f'text-anchor="end" class="label">{escape(label)}</text></a>'
        )
        x = float(LABEL)
        for part, amount in row.parts:
            share = float(amount / row.corrected) if row.corrected else 0.0
            length = max(BAR * float(row.burden) / largest * share, 0.0)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="22" '
                f'class="{PART_CLASSES[part.value]}"/>'
            )
            x += length
        percent = rounded(100 * float(row.burden) / total, 1) if total else "–"
        parts.append(
            f'<text x="{x + 8:.1f}" y="{y + 17}" class="value">'
            f"{significant(str(float(row.burden)))} kgCO₂e · {percent} %</text>"
        )
    parts.append("</svg>")
    return "".join(parts)
