"""A row of a batch's figure whose amount no meter gave: a declaration, a bill of materials."""

from __future__ import annotations

from fractions import Fraction

from footprint.batch import Part, SourceResult
from footprint.catalogue import FactorRequest
from footprint.pricing import Pricing
from mrv.measurement.uncertainty import Components


def stated_row(
    pricing: Pricing,
    source: str,
    name: str,
    amount: Fraction,
    unit: str,
    components: Components,
    request: FactorRequest | None,
) -> SourceResult:
    """The row of `source`; `name` is what findings call it, `components` the amount's own."""
    row = SourceResult(
        source=source,
        instrument="",
        register="",
        unit=unit,
        metered=amount,
        corrected=amount,
        parts=((Part.DIRECT, amount),),
        activity_components=components,
        tier="",
        certificate="",
        certificate_state="",
    )
    return pricing.priced(row, name, request)
