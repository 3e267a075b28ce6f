"""Footprint of a selection: product × period × sites (design §3): Σ burden / Σ good units.

Batches of one site share its instruments and certificates; batches of all sites share the emission
factors, so what a factor is off by adds up over sites and what an instrument is off by does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    sites: tuple[str, ...]
    """Site of each of them."""
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
        pairs = zip(self.sites, self.batches, strict=True)
        return total([of_site(site, b.components) for site, b in pairs])

    @property
    def boundary(self) -> str:
        """The narrowest boundary of the batches: the sum covers no more than each of them."""
        wide = bool(self.batches) and all(not b.partial for b in self.batches)
        return "cradle_to_gate" if wide else "gate_to_gate"

    def to_json(self) -> dict[str, Any]:
        """Exact text."""
        good = self.good
        u = self.components.u
        return {
            "product": self.product,
            "from": str(self.start),
            "to": str(self.end),
            "sites": sorted(set(self.sites)),
            "batches": [
                {"batch": b.batch.id, "digest": b.digest(), "site": site}
                for site, b in zip(self.sites, self.batches, strict=True)
            ],
            "provisional": list(self.open),
            "incomplete": sorted({name for b in self.batches for name in b.incomplete}),
            "boundary": self.boundary,
            "partial": self.boundary == "gate_to_gate",
            "relative": any(b.relative for b in self.batches),
            "quantity": decimal_text(good),
            "footprint": decimal_text(self.footprint),
            "footprint_unit": "kgCO2e",
            "u": float_text(u),
            "per_unit": quotient_text(self.footprint, good),
            "u_per_unit": float_text(u / float(good)) if good else None,
        }


SHARED = "factor:"
"""Prefix of the components that batches of different sites share."""


def of_site(site: str, components: Components) -> Components:
    """Components with the site in their tags, but for those that all sites share."""
    return Components(
        {
            source if source.startswith(SHARED) else f"{site}/{source}": value
            for source, value in components.items()
        }
    )


def selection(
    sites: Mapping[str, Sequence[BatchResult]], product: str, start: int, end: int
) -> Selection:
    """The batches of `product` that end in [start, end) at any of the sites."""
    ended = [
        (r.batch.end, site, r.batch.id, r)
        for site, results in sites.items()
        for r in results
        if r.batch.product == product and r.batch.end is not None and start <= r.batch.end < end
    ]
    ended.sort(key=lambda row: row[:3])
    settled = [row for row in ended if row[3].state is not BatchState.PROVISIONAL]
    return Selection(
        product,
        start,
        end,
        tuple(row[3] for row in settled),
        tuple(row[1] for row in settled),
        tuple(row[2] for row in ended if row[3].state is BatchState.PROVISIONAL),
    )
