"""Emission factors as published, each with its source; read from CSV (docs: reference/factors)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from mrv.errors import InputError
from mrv.interval import NS_PER_S
from mrv.quantity import exact_number

COLUMNS = (
    "id",
    "name",
    "category",
    "region",
    "valid_from",
    "valid_to",
    "value",
    "unit",
    "gas_or_co2e",
    "gwp_basis",
    "uncertainty_pct",
    "source",
    "source_year",
    "notes",
)
"""Columns of a factor file, in any order; `valid_to` is inclusive there, half-open here."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One row of a factor set. Rows are never changed, only superseded by newer ones."""

    id: str
    """Unique id."""
    name: str
    """What it is, as published."""
    category: str
    """Family: electricity_cfp (life cycle), electricity_co2 (stack), material, fuel_ef …"""
    region: str
    """ISO country, grid or GLO."""
    valid_from: int | None
    """Moment from which it holds, ns UTC; None = always."""
    valid_to: int | None
    """Moment at which it ceases to hold, ns UTC; None = open."""
    value: Fraction
    """Numerator units per denominator unit, exact."""
    unit: str
    """As published: kgCO2e/kWh."""
    gas: str
    """CO2e, or the gas it counts."""
    gwp_basis: str
    """IPCC report of the GWP values, as stated."""
    uncertainty_pct: Fraction | None
    """95 % half-width in per cent of the value; None = the source gives none."""
    source: str
    """Where it is published."""
    source_year: int | None
    """Year of publication."""
    notes: str = ""
    """What its reader noted."""

    @property
    def unverified(self) -> bool:
        """Whether its value or range was not confirmed by its reader."""
        return "UNVERIFIED" in self.notes

    @property
    def series(self) -> str:
        """Id without a trailing year: rows of one series follow one another."""
        head, _, tail = self.id.rpartition(".")
        return head if head and len(tail) == 4 and tail.isdigit() else self.id

    @property
    def numerator(self) -> str:
        """Unit of the burden: kgCO2e."""
        return self.unit.partition("/")[0]

    @property
    def denominator(self) -> str:
        """Unit of the activity: kWh."""
        return self.unit.partition("/")[2] or "1"


def _moment(text: str, *, after: bool) -> int | None:
    if not text:
        return None
    day = date.fromisoformat(text) + timedelta(days=1 if after else 0)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS_PER_S


def factor_from_row(row: Mapping[str, str]) -> Factor:
    """A factor from a CSV row. Raises InputError naming the column."""
    column = "id"
    for name in COLUMNS:
        if not isinstance(row.get(name), str):
            raise InputError(f"a text is expected, seen {row.get(name)!r:.40}", field=name)
    try:
        if not row["id"]:
            raise ValueError("empty")
        column = "value"
        value = exact_number(row["value"])
        column = "uncertainty_pct"
        pct = exact_number(row["uncertainty_pct"]) if row["uncertainty_pct"] else None
        if pct is not None and pct < 0:
            raise ValueError("negative")
        column = "valid_from"
        valid_from = _moment(row["valid_from"], after=False)
        column = "valid_to"
        valid_to = _moment(row["valid_to"], after=True)
        if valid_from is not None and valid_to is not None and valid_to <= valid_from:
            raise ValueError("before valid_from")
        column = "source_year"
        year = int(row["source_year"]) if row["source_year"] else None
        column = "unit"
        if not row["unit"]:
            raise ValueError("empty")
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"seen {row[column]!r}", field=column, hint="see the columns of a factor file"
        ) from error
    return Factor(
        id=row["id"],
        name=row["name"],
        category=row["category"],
        region=row["region"],
        valid_from=valid_from,
        valid_to=valid_to,
        value=value,
        unit=row["unit"],
        gas=row["gas_or_co2e"],
        gwp_basis=row["gwp_basis"],
        uncertainty_pct=pct,
        source=row["source"],
        source_year=year,
        notes=row["notes"],
    )


def row_of(factor: Factor) -> dict[str, str]:
    """The CSV row of a factor: `factor_from_row` undoes it."""
    return {
        "id": factor.id,
        "name": factor.name,
        "category": factor.category,
        "region": factor.region,
        "valid_from": _day(factor.valid_from),
        "valid_to": _day(None if factor.valid_to is None else factor.valid_to - NS_PER_S),
        "value": str(factor.value),
        "unit": factor.unit,
        "gas_or_co2e": factor.gas,
        "gwp_basis": factor.gwp_basis,
        "uncertainty_pct": "" if factor.uncertainty_pct is None else str(factor.uncertainty_pct),
        "source": factor.source,
        "source_year": "" if factor.source_year is None else str(factor.source_year),
        "notes": factor.notes,
    }


def _day(moment: int | None) -> str:
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment // NS_PER_S, UTC).date().isoformat()


def read_rows(text: str, file: str = "") -> tuple[list[dict[str, str]], list[InputError]]:
    """Rows of a factor file and what is wrong with others, each error with its line."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        return [], [InputError(f"the column {missing[0]} is missing", file=file, line=1)]
    rows: list[dict[str, str]] = []
    errors: list[InputError] = []
    seen: set[str] = set()
    try:
        found = [(reader.line_num, raw) for raw in reader]
    except csv.Error as error:
        return [], [InputError(f"is not CSV: {error}", file=file, line=reader.line_num)]
    for line, raw in found:
        row = {name: (raw.get(name) or "").strip() for name in COLUMNS}
        try:
            factor = factor_from_row(row)
            if None in raw or None in raw.values():
                how = "many" if None in raw else "few"
                raise InputError(f"too {how} columns", field="id", hint="quote a text with a comma")
            if factor.id in seen:
                raise InputError(f"the id {factor.id} stands twice", field="id")
        except InputError as error:
            message = f"row {row['id'] or '?'}: {error.args[0]}"
            errors.append(
                InputError(message, file=file, line=line, field=error.field, hint=error.hint)
            )
            continue
        seen.add(factor.id)
        rows.append(row)
    return rows, errors
