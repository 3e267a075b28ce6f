"""Factor rows: exact, half-open, each broken one named with its line."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.decode import decode
from device_profiles.loading import load_profile
from footprint.catalogue import Catalogue, FactorError, FactorRequest
from footprint.combustion import combustion_factor
from footprint.exact import decimal_text
from footprint.factor import COLUMNS, Factor, factor_from_row, read_rows, row_of
from footprint.stated_batches import millionths
from ingest.batch_events import read_event
from mrv.errors import InputError, MeterprintError
from mrv.quantity import exact_number

ROW = {
    "id": "ele.2024",
    "name": "grid",
    "category": "electricity_cfp",
    "region": "CN",
    "valid_from": "2024-01-01",
    "valid_to": "2024-12-31",
    "value": "0.5777",
    "unit": "kgCO2e/kWh",
    "gas_or_co2e": "CO2e",
    "gwp_basis": "AR6",
    "uncertainty_pct": "",
    "source": "announcement",
    "source_year": "2025",
    "notes": "",
}


ALWAYS = {**ROW, "valid_from": "", "valid_to": ""}


def text_of(*rows: dict[str, str]) -> str:
    lines = [",".join(COLUMNS)]
    lines += [",".join(row[name] for name in COLUMNS) for row in rows]
    return "\n".join(lines) + "\n"


@pytest.fixture
def factors(shared) -> dict[str, Factor]:
    rows, errors = read_rows((shared / "reference/factors/factors.csv").read_text())
    assert not errors
    return {row["id"]: factor_from_row(row) for row in rows}


def test_the_last_day_of_a_row_is_inside_and_the_next_is_not():
    factor = factor_from_row(ROW)
    assert factor.valid_to == int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    assert factor.value == Fraction(5777, 10_000)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", ""),
        ("value", ""),
        ("value", "nan"),
        ("value", "inf"),
        ("value", "1e999999999"),
        ("value", "1/0"),
        ("value", "0,5"),
        ("uncertainty_pct", "-5"),
        ("uncertainty_pct", "five"),
        ("valid_from", "2024-13-01"),
        ("valid_to", "9999-12-31"),
        ("valid_to", "2023-12-31"),
        ("source_year", "MMXX"),
        ("unit", ""),
    ],
)
def test_a_broken_cell_is_named_with_its_line_and_column(column, value):
    bad = {**ROW, "id": "bad", column: value}
    quoted = {k: f'"{v}"' for k, v in bad.items()}
    rows, errors = read_rows(text_of(ROW, quoted), "f.csv")
    assert [row["id"] for row in rows] == ["ele.2024"]
    assert [(e.file, e.line, e.field) for e in errors] == [("f.csv", 3, column)]


def test_rows_with_too_few_or_too_many_columns_or_the_same_id_are_refused():
    text = text_of(ROW, ROW) + "short,only\n" + text_of(ROW).splitlines()[1] + ",more\n"
    rows, errors = read_rows(text, "f.csv")
    assert len(rows) == 1
    assert [e.line for e in errors] == [3, 4, 5]
    assert "stands twice" in str(errors[0])
    assert "many" in str(errors[2])


def test_a_missing_column_refuses_the_file():
    rows, errors = read_rows("id,name\nx,y\n", "f.csv")
    assert rows == []
    assert "category" in str(errors[0])


def test_a_factor_and_its_row_are_the_same_thing(factors):
    for factor in factors.values():
        assert factor_from_row(row_of(factor)) == factor


@given(st.text(max_size=80))
def test_no_text_crashes_the_reader_of_a_factor_file(text):
    rows, errors = read_rows(",".join(COLUMNS) + "\n" + text)
    assert len(rows) + len(errors) <= text.count("\n") + text.count("\r") + 1


@given(st.fractions())
def test_an_exact_number_is_read_as_it_was_written(value):
    if len(str(value.numerator)) <= 60 and len(str(value.denominator)) <= 60:
        assert exact_number(str(value)) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e100", "1/0", "0x10", "1_000", "٣", "1 "])
def test_what_is_no_plain_number_is_refused(text):
    with pytest.raises(ValueError):
        exact_number(text)


def test_the_chinese_combustion_formula_gives_the_published_figures(factors):
    """F08: 2.162189 kgCO2/Nm3 published; the rest by exact arithmetic from published inputs."""

    def derived(fuel: str, edition: str) -> Factor:
        rows = [factors[f"fuel.{part}.{fuel}.{edition}"] for part in ("ncv", "cc", "of")]
        return combustion_factor(f"derived.{fuel}.{edition}", *rows)

    gas = derived("natural_gas", "cn_oi")
    assert gas.unit == "kgCO2/Nm3"
    assert round(gas.value, 6) == Fraction("2.162189")
    assert round(derived("natural_gas", "cn_sy").value, 6) == Fraction("2.165015")
    diesel = derived("diesel", "cn_oi")
    assert diesel.unit == "kgCO2/kg"
    assert round(diesel.value, 6) == Fraction("3.145122")
    assert round(derived("diesel", "cn_sy").value, 6) == Fraction("3.095910")
    assert "fuel.cc.diesel.cn_oi" in diesel.source
    assert factor_from_row(row_of(diesel)) == diesel


def test_a_combustion_factor_refuses_rows_that_are_something_else(factors):
    ncv, oxidation = factors["fuel.ncv.diesel.cn_oi"], factors["fuel.of.diesel.cn_oi"]
    with pytest.raises(MeterprintError, match="carbon content"):
        combustion_factor("x", ncv, oxidation, oxidation)


def test_a_derived_factor_is_unverified_where_one_of_its_rows_is(factors):
    ncv = next(f for f in factors.values() if f.category == "fuel_ncv" and f.unverified)
    carbon, oxidation = factors["fuel.cc.diesel.cn_oi"], factors["fuel.of.diesel.cn_oi"]
    assert combustion_factor("x", ncv, carbon, oxidation).unverified


def test_the_footprint_factor_fell_by_the_published_share(factors):
    """F11: 2023 to 2024 national 0.6205 to 0.5777 is −6.9 %; the line loss makes 0.0281."""
    old, new = factors["ele.cfp.CN.avg.2023"], factors["ele.cfp.CN.avg.2024"]
    assert round((new.value / old.value - 1) * 1000) == -69
    assert old.category != factors["ele.co2.CN.avg.2023"].category
    assert decimal_text(Fraction("0.0327") - Fraction("0.0046")) == "0.0281"


def test_no_short_text_stands_for_a_giant_number_anywhere_a_stranger_writes_one():
    """Each of these would take minutes and gigabytes to compute."""
    giant = "1e999999999"
    with pytest.raises(InputError):
        read_event({"id": "e", "line": "l", "batch": "b", "event": "end", "good": giant, "t": "1"})
    with pytest.raises(MeterprintError):
        millionths(giant)
    weigher = load_profile("mettler_toledo/mt_sics").register("weight")
    assert decode(weigher, b"1E999999999").v is None


def test_a_factor_marked_unverified_is_used_only_where_it_is_asked_for_by_name():
    row = factor_from_row({**ALWAYS, "id": "f.2024", "notes": "UNVERIFIED"})
    sure = factor_from_row({**ALWAYS, "id": "f.2023"})
    asked = FactorRequest(sure.category, sure.region)
    with pytest.raises(FactorError, match="UNVERIFIED"):
        Catalogue([row]).choose(asked, 0)
    assert Catalogue([row, sure]).choose(asked, 0).factor.id == "f.2023"
    assert Catalogue([row]).choose(FactorRequest(id="f.2024"), 0).reason == "by_id"


def test_an_ambiguous_request_names_its_candidates():
    rows = [factor_from_row({**ALWAYS, "id": name}) for name in ("grid.south", "grid.north")]
    with pytest.raises(FactorError) as caught:
        Catalogue(rows).choose(FactorRequest(rows[0].category, rows[0].region), 0)
    assert "grid.north, grid.south" in str(caught.value)
    assert "series" in caught.value.hint


def test_two_rows_of_one_series_that_hold_at_once_are_an_error_too():
    rows = [
        factor_from_row({**ALWAYS, "id": f"grid.{year}", "valid_from": "2024-01-01"})
        for year in (2024, 2025)
    ]
    with pytest.raises(FactorError, match=r"grid\.2024, grid\.2025"):
        Catalogue(rows).choose(FactorRequest(rows[0].category), 1_800_000_000 * 10**9)
