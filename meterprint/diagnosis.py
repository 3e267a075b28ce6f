"""The outcome of one examination of `meterprint doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"
"""Results of an examination."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Outcome of one examination."""

    id: str
    """What was looked at."""
    result: str
    """ok | warn | fail."""
    seen: str
    """What was seen."""
    remedy: str = ""
    """What to do, "" where nothing is to be done."""
