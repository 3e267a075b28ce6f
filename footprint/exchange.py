"""Exchanges of meters and transformers, as facts state them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from mrv.fact import Fact
from mrv.finding import Finding, Severity
from mrv.quantity import exact_number


@dataclass(frozen=True, slots=True)
class Exchange:
    """A meter replaced by another, or its transformer by one of another ratio."""

    instrument: str
    """Instrument id, which stays."""
    at: int
    """Moment, ns UTC."""
    closing: tuple[tuple[str, int], ...]
    """(register, counts) of the old one at the end."""
    opening: tuple[tuple[str, int], ...]
    """(register, counts) of the new one at the start."""
    ratio: Fraction | None
    """New transformer ratio; None = as before."""
    serial: str
    """New serial number; "" = as before."""

    def finding(self) -> Finding:
        """That it happened, with the registers it closed and opened."""
        numbers = [(f"closing_{name}", str(counts)) for name, counts in self.closing]
        numbers += [(f"opening_{name}", str(counts)) for name, counts in self.opening]
        if self.ratio is not None:
            numbers.append(("ratio", str(self.ratio)))
        return Finding("exchange", self.instrument, self.at, Severity.INFO, tuple(numbers))


def read_exchange(fact: Fact) -> Exchange:
    """The exchange that the body of an `instrument_exchanged` fact states.

    Raises one of `registry.BODY_FAULTS` where it cannot be read.
    """
    body = fact.body

    def registers(name: str) -> tuple[tuple[str, int], ...]:
        return tuple(sorted((str(k), int(v)) for k, v in body.get(name, {}).items()))

    ratio = body.get("ratio")
    return Exchange(
        fact.subject,
        fact.header.valid_from or 0,
        registers("closing"),
        registers("opening"),
        None if ratio is None else exact_number(str(ratio)),
        str(body.get("serial", "")),
    )
