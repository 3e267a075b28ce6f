"""MT-SICS replies: what a weigher's line of text says (reference manual §3.2)."""

from __future__ import annotations

from dataclasses import dataclass

STABLE = ""
DYNAMIC = "dynamic"
BUSY = "busy"
OVERLOAD = "overload"
UNDERLOAD = "underload"
SYNTAX = "not_understood"
OTHER_UNIT = "other_unit"

_STATES = {"I": BUSY, "+": OVERLOAD, "-": UNDERLOAD, "L": SYNTAX}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a weighing command."""

    quality: str
    """"" stable; dynamic, busy, overload, underload, not_understood: no weight to account."""
    number: str
    """The weight's digits as sent, "" = none."""
    unit: str
    """Unit as sent, "" = none."""


def parse_weight(line: str) -> Reply:
    """Reads `S S     100.00 g`, `S D …`, `S I`, `S +`, `S -`, `ES`, `ET`, `EL`."""
    parts = line.split()
    if len(parts) == 4 and parts[0] == "S" and parts[1] in ("S", "D"):
        return Reply(STABLE if parts[1] == "S" else DYNAMIC, parts[2], parts[3])
    if len(parts) == 2 and parts[0] == "S" and parts[1] in _STATES:
        return Reply(_STATES[parts[1]], "", "")
    return Reply(SYNTAX, "", "")


def parse_text(line: str, command: str) -> str | None:
    """The quoted text of `I4 A "0123456789"`, None where the reply is another."""
    head, _, rest = line.partition('"')
    if head.split() != [command, "A"] or not rest.endswith('"'):
        return None
    return rest[:-1]
