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
    choice = pricing.factor(name, request)
    burden, burden_components = pricing.burden(amount, unit, components, choice, name)
    return SourceResult(
        source=source,
        instrument="",
        register="",
        unit=unit,
        metered=amount,
        corrected=amount,
        parts=((Part.DIRECT, amount),),
        factor=choice.factor.id if choice else "",
        factor_value=choice.factor.value if choice else Fraction(0),
        factor_unit=choice.factor.unit if choice else "",
        factor_reason=choice.reason if choice else "",
        factor_default_u=choice.uncertainty_default if choice else False,
        burden=burden,
        components=burden_components,
        activity_components=components,
        tier="",
        certificate="",
        certificate_state="",
    )
