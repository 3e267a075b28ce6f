"""What a register shows that no running plant would: judged beside the law, never mended.

The law itself withholds what the nameplate forbids (`jump`, `backward`); here is what it counts
and somebody should look at all the same.
"""

from __future__ import annotations

from mrv.finding import Finding, Severity
from mrv.measurement import law
from mrv.measurement.activity import WindowSum


def standstill(window: WindowSum, subject: str, at: int) -> Finding | None:
    """A counter that was read and did not move while something was made.

    `window` is the time of a batch with good output; None where it moved, or was not read.
    """
    steps = window.counts[law.STEP]
    if steps == 0 or window.metered != 0 or window.withheld != 0:
        return None
    numbers = (("steps", str(steps)),)
    return Finding("stands_still", subject, at, Severity.WARNING, numbers)
