"""What every source of readings gives, whatever its protocol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawReading:
    """One reading as the agent took it."""

    channel: str
    """`<instrument>.<register>`."""
    t: int
    """Start of the read (of an amount: of its interval), ns UTC."""
    mono: int
    """Monotonic clock at the read, ns."""
    v: int | None
    """Integer the register shows, in units of its resolution; None = failed."""
    quality: str = ""
    """Quality flag, "" = good."""
    raw: bytes = b""
    """Raw register bytes; empty where not kept."""
    length: int = 0
    """Amount: length of its interval, ns."""
    tag: str = ""
    """Amount: batch it was weighed for, "" = none."""
