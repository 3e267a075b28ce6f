"""Footprint of a selection: product × period (design §3): Σ burden / Σ good units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from footprint.batch import BatchResult, BatchState
from footprint.exact import decimal_text, float_text, quotient_text
from mrv.measurement.uncertainty import Components, total


@dataclass(frozen=True, slots=True)
class Selection:
    """A product over a period: the batches that end in it."""

    product: str
    """Product."""
    start: int
    """From, ns UTC."""
    end: int
    """To, ns UTC, exclusive."""
    batches: tuple[BatchResult, ...]
    """Settled batches that end in the period."""
    open: tuple[str, ...]
    """Batches of the product that end in it but are provisional: left out, and said."""

    @property
    def footprint(self) -> Fraction:
        """kgCO2e of all of them."""
        return sum((b.footprint for b in self.batches), Fraction(0))

    @property
    def good(self) -> Fraction:
        """Good output of all of them, declared units."""
        return sum((b.good for b in self.batches), Fraction(0))

    @property
    def components(self) -> Components:
        """Uncertainty of the sum: what batches share adds up, what is their own does not."""
        return total([b.components for b in self.batches])

    def to_json(self) -> dict[str, Any]:
        """Exact text."""
        good = self.good
        u = self.components.u
        return {
            "product": self.product,
            "from": str(self.start),
            "to": str(self.end),
            "batches": [{"batch": b.batch.id, "digest": b.digest()} for b in self.batches],
            "provisional": list(self.open),
            "incomplete": sorted({name for b in self.batches for name in b.incomplete}),
            "boundary": self.batches[0].boundary if self.batches else "gate_to_gate",
            "quantity": decimal_text(good),
            "footprint": decimal_text(self.footprint),
            "footprint_unit": "kgCO2e",
            "u": float_text(u),
            "per_unit": quotient_text(self.footprint, good),
            "u_per_unit": float_text(u / float(good)) if good else None,
        }


def selection(results: Sequence[BatchResult], product: str, start: int, end: int) -> Selection:
    """The batches of `product` that end in [start, end)."""
    ended = [
        r
        for r in results
        if r.batch.product == product and r.batch.end is not None and start <= r.batch.end < end
    ]
    ended.sort(key=lambda r: (r.batch.end or 0, r.batch.id))
    return Selection(
        product,
        start,
        end,
        tuple(r for r in ended if r.state is not BatchState.PROVISIONAL),
        tuple(r.batch.id for r in ended if r.state is BatchState.PROVISIONAL),
    )
