"""Combustion factors derived from a fuel's published properties.

E = NCV · CC · OF · 44/12 in t CO2 per unit of fuel: net calorific value [GJ per t or 10⁴ Nm³],
carbon content of the energy [t C/GJ], oxidised share [1], mass of CO2 by mass of its carbon
(the accounting guides of the Chinese sectors, e.g. GB/T 32151; IPCC 2006 vol. 2 ch. 1). It counts
CO2 alone; CH4 and N2O of the flame are factors of their own.
"""

from __future__ import annotations

import math
from fractions import Fraction

from footprint.factor import Factor
from mrv.errors import MeterprintError

CO2_BY_CARBON = Fraction(44, 12)
"""Molar mass of CO2 by that of C, in the whole numbers the guides use."""
_KILOGRAMS = {
    "GJ/t": (Fraction(1), "kg"),
    "GJ/1e4Nm3": (Fraction(1, 10), "Nm3"),
}
"""Unit of the calorific value → (kg CO2 per unit of fuel for 1 t CO2 per its unit, that unit)."""
_INPUTS = (
    ("calorific value", "fuel_ncv", tuple(_KILOGRAMS)),
    ("carbon content", "fuel_carbon_content", ("tC/GJ",)),
    ("oxidised share", "fuel_oxidation", ("ratio",)),
)


def combustion_factor(name: str, ncv: Factor, carbon: Factor, oxidation: Factor) -> Factor:
    """The CO2 factor of a fuel, with the rows it comes from named in its source.

    It holds while all three hold and is UNVERIFIED where one of them is; its uncertainty is their
    root sum of squares where all three state one. Raises MeterprintError for rows that do not fit.
    """
    rows = (ncv, carbon, oxidation)
    for row, (what, category, units) in zip(rows, _INPUTS, strict=True):
        if row.category != category or row.unit not in units:
            raise MeterprintError(
                f"{row.id} is no {what}: {row.category} in {row.unit}",
                hint=f"name a row of {category} in {' or '.join(units)}",
            )
    scale, fuel = _KILOGRAMS[ncv.unit]
    starts = [row.valid_from for row in rows if row.valid_from is not None]
    ends = [row.valid_to for row in rows if row.valid_to is not None]
    start, end = max(starts, default=None), min(ends, default=None)
    if start is not None and end is not None and end <= start:
        raise MeterprintError(
            f"{', '.join(row.id for row in rows)} never hold at one time",
            hint="take the three of one edition",
        )
    doubtful = [row.id for row in rows if row.unverified]
    return Factor(
        id=name,
        name=f"Combustion CO2 of {ncv.name}",
        category="fuel_ef",
        region=ncv.region,
        valid_from=start,
        valid_to=end,
        value=ncv.value * carbon.value * oxidation.value * CO2_BY_CARBON * scale,
        unit=f"kgCO2/{fuel}",
        gas="CO2",
        gwp_basis="n/a",
        uncertainty_pct=_joined(rows),
        source="NCV x CC x OF x 44/12 of " + ", ".join(row.id for row in rows),
        source_year=max((row.source_year for row in rows if row.source_year), default=None),
        notes=f"derived; UNVERIFIED: {', '.join(doubtful)}" if doubtful else "derived",
    )


def _joined(rows: tuple[Factor, ...]) -> Fraction | None:
    """Relative 95 % half-width of a product of independent values (GUM §5.1.6), 1e-6 per cent."""
    stated = [row.uncertainty_pct for row in rows]
    if None in stated:
        return None
    square = sum((pct * pct for pct in stated if pct is not None), Fraction(0))
    return Fraction(math.isqrt(math.ceil(square * 10**12)), 10**6)
