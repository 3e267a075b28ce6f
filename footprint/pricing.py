"""What an amount weighs in kgCO2e: the factor chosen for it, its burden, and what is odd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from footprint.batch import SourceResult
from footprint.catalogue import Catalogue, Choice, FactorError, FactorRequest
from footprint.notes import Notes
from mrv.errors import MeterprintError
from mrv.finding import Finding, Severity
from mrv.measurement.uncertainty import Components
from mrv.quantity import Quantity

RULES = frozenset(
    (
        "factor_not_chosen",
        "factor_carried_forward",
        "factor_overdue",
        "factor_family",
        "factor_unit",
    )
)
"""Findings that pricing makes, by rule."""


@dataclass(slots=True)
class Pricing:
    """Choices of factors at one moment, with what was found on the way."""

    catalogue: Catalogue
    """Factors in force."""
    moment: int
    """Moment at which the factors are asked for, ns UTC."""
    at: int
    """Moment the findings are dated to, ns UTC."""
    notes: Notes
    """Where what is odd about the choices, and what is missing, is noted."""

    def _find(self, rule: str, subject: str, severity: Severity, **numbers: str) -> None:
        pairs = tuple(sorted(numbers.items()))
        self.notes.findings.append(Finding(rule, subject, self.at, severity, pairs))

    def factor(self, source: str, request: FactorRequest | None) -> Choice | None:
        """The one factor for a source; None, and incomplete, where there is not exactly one."""
        if request is None:
            self.notes.incomplete.add(f"no_factor:{source}")
            return None
        try:
            choice = self.catalogue.choose(request, self.moment)
        except FactorError as error:
            self.notes.incomplete.add(f"no_factor:{source}")
            self._find("factor_not_chosen", source, Severity.ERROR, error=str(error)[:200])
            return None
        if choice.carried_forward:
            self._find("factor_carried_forward", choice.factor.id, Severity.INFO)
        if choice.overdue:
            self._find("factor_overdue", choice.factor.id, Severity.WARNING)
        if choice.factor.category == "electricity_co2":
            self._find("factor_family", choice.factor.id, Severity.WARNING)
        return choice

    def burden(
        self,
        amount: Fraction,
        unit: str,
        components: Components,
        choice: Choice | None,
        source: str,
    ) -> tuple[Fraction, Components]:
        """kgCO2e of `amount` in `unit` and its components; 0, and incomplete, without a factor.

        The factor's uncertainty is stated as expanded by k = 2 in percent, hence the 200.
        """
        if choice is None:
            return Fraction(0), Components()
        factor = choice.factor
        try:
            per_unit = factor.value * _scale(unit, factor.denominator, factor.numerator)
        except MeterprintError as error:
            self.notes.incomplete.add(f"unit:{source}")
            self._find("factor_unit", source, Severity.ERROR, error=str(error)[:200])
            return Fraction(0), Components()
        burden = amount * per_unit
        relative = float(choice.uncertainty_pct) / 200
        own = Components({f"factor:{factor.id}": float(burden) * relative})
        return burden, components.scaled(per_unit) + own

    def priced(self, row: SourceResult, name: str, request: FactorRequest | None) -> SourceResult:
        """The row with the factor and burden of its amount; findings call its source `name`."""
        choice = self.factor(name, request)
        burden, components = self.burden(
            row.corrected, row.unit, row.activity_components, choice, name
        )
        return replace(
            row,
            factor=choice.factor.id if choice else "",
            factor_value=choice.factor.value if choice else Fraction(0),
            factor_unit=choice.factor.unit if choice else "",
            factor_reason=choice.reason if choice else "",
            factor_default_u=choice.uncertainty_default if choice else False,
            burden=burden,
            components=components,
        )


@lru_cache(maxsize=1024)
def _scale(unit: str, denominator: str, numerator: str) -> Fraction:
    """What an amount in `unit` is multiplied by for a factor of 1, kgCO2e. Raises UnitError."""
    amount = Quantity(Fraction(1), unit).to(denominator).value
    return amount * Quantity(Fraction(1), numerator).to("kgCO2e").value
