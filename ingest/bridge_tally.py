"""What a bridge has counted since its start, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class BridgeTally:
    """Counts since the start."""

    received: int = 0
    """Messages."""
    readings: int = 0
    """Readings journalled, null ones with them."""
    envelopes: int = 0
    """Envelopes journalled."""
    duplicates: int = 0
    """Messages whose readings were all known."""
    refused: Counter[str] = field(default_factory=Counter)
    """Messages refused, by reason."""
    flags: Counter[str] = field(default_factory=Counter)
    """Null readings, by flag."""
