"""Points a store refused for good: the latest ones with their reasons, and counts of all.

The journal keeps every reading; this is for people who ask why a view lacks one.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.durable import replace_file
from mrv.errors import MeterprintError

KEPT = 100
"""Parked points that are kept with their text, the latest ones."""
TEXT = 500
"""Characters kept of a line and of a reason."""


@dataclass(frozen=True, slots=True)
class ParkedPoint:
    """One point that was refused."""

    at: int
    """When, ns UTC."""
    grade: str
    """Kind of reason."""
    reason: str
    """What the server said."""
    line: str
    """The line, at most TEXT characters."""


class Park:
    """Bounded, and kept in a file where one is named."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.counts: Counter[str] = Counter()
        self.points: deque[ParkedPoint] = deque(maxlen=KEPT)
        if path is not None and path.exists():
            try:
                known = json.loads(path.read_text())
                self.counts.update({str(k): int(v) for k, v in known["counts"].items()})
                self.points.extend(ParkedPoint(**row) for row in known["points"])
            except (ValueError, KeyError, TypeError) as error:
                raise MeterprintError(
                    f"{path} is not what this program wrote: {error}",
                    hint="delete it: it only lists points a store refused",
                ) from error

    @property
    def total(self) -> int:
        """Points refused since the view was made."""
        return self.counts.total()

    def add(self, lines: Sequence[str], grade: str, reason: str, count: int = 0) -> None:
        """Park lines; `count` where more were refused than can be named."""
        now = time.time_ns()
        self.counts[grade] += max(count, len(lines))
        self.points.extend(
            ParkedPoint(now, grade, reason[:TEXT], line[:TEXT]) for line in lines[-KEPT:]
        )

    def save(self) -> None:
        """Write the file, where there is one. Raises FileRefused."""
        if self._path is not None:
            body = {"counts": self.counts, "points": list(map(asdict, self.points))}
            replace_file(self._path, json.dumps(body).encode(), mode=0o644)

    def clear(self) -> None:
        """Forget all."""
        self.counts.clear()
        self.points.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
