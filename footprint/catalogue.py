"""Choosing a factor: exactly one, and it says why (design §3; notes on factor families: F11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from footprint.factor import Factor
from mrv.errors import MeterprintError
from mrv.interval import NS_PER_S

TWO_YEARS = 2 * 366 * 86_400 * NS_PER_S
"""A factor carried forward longer than this is reported."""

DEFAULT_UNCERTAINTY_PCT: Mapping[str, Fraction] = {
    "electricity_cfp": Fraction(10),
    "electricity_co2": Fraction(10),
    "fuel_ef": Fraction(5),
    "fuel_upstream": Fraction(30),
    "heat": Fraction(15),
    "process": Fraction(10),
    "material": Fraction(30),
    "transport": Fraction(40),
    "process_service": Fraction(40),
}
"""Expert defaults, 95 % half-width in per cent, where a source gives none; a policy overrides them.

Official Chinese grid factors come without any uncertainty; these are ours and shown as such.
"""
FALLBACK_UNCERTAINTY_PCT = Fraction(50)
"""Default of a category nobody has rated."""


class FactorError(MeterprintError):
    """No factor, or more than one."""


@dataclass(frozen=True, slots=True)
class FactorRequest:
    """What a source of emissions asks of the catalogue."""

    category: str = ""
    """Family; "" only where `id` is given."""
    region: str = ""
    """Region; "" = any."""
    series: str = ""
    """Id without its year, where a region has several."""
    id: str = ""
    """Exactly this row."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The factor chosen and why."""

    factor: Factor
    """The row."""
    reason: str
    """Code of the reason: by_id | valid | carried_forward."""
    carried_forward: bool = False
    """Whether its period has passed and a newer one is not published."""
    overdue: bool = False
    """Whether it is carried forward for more than two years."""
    uncertainty_pct: Fraction = Fraction(0)
    """95 % half-width in per cent, stated or default."""
    uncertainty_default: bool = False
    """Whether that is the policy's default."""


class Catalogue:
    """All factors of the sets in force."""

    def __init__(
        self,
        factors: Iterable[Factor],
        default_pct: Mapping[str, Fraction] = DEFAULT_UNCERTAINTY_PCT,
    ) -> None:
        self._by_id = {factor.id: factor for factor in factors}
        self._default_pct = default_pct

    def __len__(self) -> int:
        return len(self._by_id)

    def factors(self) -> list[Factor]:
        """All rows, by id."""
        return [self._by_id[name] for name in sorted(self._by_id)]

    def choose(self, request: FactorRequest, at: int) -> Choice:
        """The one factor for activity at `at` (ns UTC). Raises FactorError."""
        if request.id:
            factor = self._by_id.get(request.id)
            if factor is None:
                raise FactorError(
                    f"no factor has the id {request.id!r}", hint="see `meterprint factors list`"
                )
            return self._choice(factor, at, "by_id")
        if not request.category:
            raise FactorError("a factor is asked for by category or by id")
        found = [
            factor
            for factor in self._by_id.values()
            if factor.category == request.category
            and (not request.region or factor.region == request.region)
            and (not request.series or factor.series == request.series)
        ]
        usable = [factor for factor in found if not factor.unverified]
        what = f"{request.category} {request.region} {request.series}".strip()
        if found and not usable:
            raise FactorError(
                f"every factor for {what} is marked UNVERIFIED",
                hint="confirm one at its source and ask for it by its id",
            )
        series = sorted({factor.series for factor in usable})
        if len(series) > 1:
            raise FactorError(
                f"{len(series)} factors fit {what}: {', '.join(series[:6])}",
                hint="name one of them as `series` or `id`",
            )
        started = [f for f in usable if f.valid_from is None or f.valid_from <= at]
        if not started:
            raise FactorError(
                f"no factor for {what} holds at that time",
                hint="import a factor set that covers it, or ask for a row by its id",
            )
        newest = max(f.valid_from or 0 for f in started)
        latest = [f for f in started if (f.valid_from or 0) == newest]
        if len(latest) > 1:
            names = ", ".join(sorted(f.id for f in latest))
            raise FactorError(f"two rows hold at once: {names}", hint="name one by `id`")
        return self._choice(latest[0], at, "valid")

    def _choice(self, factor: Factor, at: int, reason: str) -> Choice:
        carried = factor.valid_to is not None and at >= factor.valid_to
        pct, default = self.uncertainty(factor)
        return Choice(
            factor,
            "carried_forward" if carried and reason == "valid" else reason,
            carried,
            carried and at - (factor.valid_to or 0) > TWO_YEARS,
            pct,
            default,
        )

    def uncertainty(self, factor: Factor) -> tuple[Fraction, bool]:
        """95 % half-width of a factor in per cent, and whether it is the policy's default."""
        if factor.uncertainty_pct is not None:
            return factor.uncertainty_pct, False
        return self._default_pct.get(factor.category, FALLBACK_UNCERTAINTY_PCT), True
