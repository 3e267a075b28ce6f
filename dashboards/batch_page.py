"""What the page of a batch says."""

from __future__ import annotations

import math
import shlex
from typing import Any

from dashboards import format as numbers
from dashboards.charts import bars, legend
from dashboards.code_words import component, lack, wait
from dashboards.page import Page
from footprint.batch import BatchResult

BUDGET_ROWS = 8
"""Components shown at once; the others are summed up and can be opened."""


def batch_values(page: Page, result: BatchResult) -> dict[str, Any]:
    """Values of the template."""
    name = result.batch.id

    def part(code: str) -> str:
        return page.code("part", code)

    budget = [(component(page, c), u, share) for c, u, share in result.components.budget()]
    rest = budget[BUDGET_ROWS:]
    top = max(result.sources, key=lambda s: s.burden, default=None)
    evidence = page.read.evidence(name)
    size, root = page.read.journal()
    file = f"{name}.zip"
    return {
        "result": result,
        "bars": bars(result, part),
        "legend": legend(result, part),
        "unit": numbers.carbon_unit(result.unit, page.language),
        "unit_name": numbers.unit_name(result.unit, page.language),
        "waits": [wait(page, code) for code in result.waits],
        "lacks": [lack(page, code) for code in result.incomplete],
        "budget": budget[:BUDGET_ROWS],
        "rest": rest,
        "rest_u": math.sqrt(math.fsum(u * u for _, u, _ in rest)),
        "rest_share": math.fsum(share for *_, share in rest),
        "top": page.source(top.source) if top is not None and top.burden else None,
        "factors": page.read.factors(result),
        "revisions": page.read.revisions(name),
        "digest": page.read.digest(name),
        "runs": evidence.runs,
        "envelopes": evidence.envelopes,
        "size": size,
        "root": root,
        "make": [
            f"meterprint bundle {shlex.quote(name)} -o {shlex.quote(file)} --state STATE",
            "meterprint keys show --state STATE > site.key",
        ],
        "verify": [f"meterprint verify {shlex.quote(file)} --trust site.key"],
    }
