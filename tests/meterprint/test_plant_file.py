"""plant.yaml: what is wrong is told with file, line, field and what to do."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from footprint.pools import PoolPlan
from footprint.reader import InputErrors
from meterprint.cli import app
from meterprint.plant_file import check_plant, load_plant

REPO = Path(__file__).resolve().parent.parent.parent
PLANTS = [
    REPO / "examples/ladle_furnace/plant.yaml",
    REPO / "examples/steel_plant/plant.yaml",
    REPO / "meterprint/demo/plant.yaml",
]
GOOD = """\
site: works
time_zone: Asia/Shanghai
boundary: cradle_to_gate
factors: [factors.csv]
lines:
  - id: one
products:
  - id: part
    unit: piece
    mass_kg: 1
    bill: bom.csv
instruments:
  - id: main
    profile: eastron/sdm630
    registers: [{id: energy_import, kind: counter, unit: kWh, resolution: 0.01}]
sources:
  - id: power
    line: one
    instrument: main
    register: energy_import
    factor: {id: ele.2024}
certificates:
  - id: C1
    kind: verification
    instrument: main
    mpe_percent: 1
    valid_from: 2026-01-01
"""
FACTORS = (
    "id,name,category,region,valid_from,valid_to,value,unit,gas_or_co2e,gwp_basis,"
    "uncertainty_pct,source,source_year,notes\n"
    "ele.2024,grid,electricity_cfp,CN,2024-01-01,,0.5777,kgCO2e/kWh,CO2e,AR6,,announcement,2025,\n"
    "ncv,gas,fuel_ncv,CN,,,389.31,GJ/1e4Nm3,n/a,n/a,,guide,2015,\n"
    "cc,gas,fuel_carbon_content,CN,,,0.0153,tC/GJ,CO2,n/a,,guide,2015,\n"
    "of,gas,fuel_oxidation,CN,,,0.99,ratio,CO2,n/a,,guide,2015,\n"
)
BOM = "material,quantity,unit,scrap_percent,factor\nsteel,1.2,kg,4,ele.2024\n"


@pytest.fixture
def write(tmp_path):
    def write(plant: str = GOOD, factors: str = FACTORS, bom: str = BOM) -> Path:
        (tmp_path / "factors.csv").write_text(factors)
        (tmp_path / "bom.csv").write_text(bom)
        (tmp_path / "plant.yaml").write_text(plant)
        return tmp_path / "plant.yaml"

    return write


def only(path: Path):
    found, faults = check_plant(path)
    assert found is None
    assert len(faults) == 1, [str(f) for f in faults]
    return faults[0]


@pytest.mark.parametrize("path", PLANTS, ids=lambda p: p.parent.name)
def test_the_plants_we_ship_hold_together(path):
    assert load_plant(path).plant.sources


def test_a_bill_beside_the_plant_file_becomes_part_of_the_plant(write):
    file = load_plant(write())
    steel = file.plant.products[0].materials[0]
    assert (steel.id, steel.unit) == ("steel", "kg")
    assert steel.quantity == 1.25
    assert file.tree["products"][0]["materials"][0]["quantity"] == "1.2"
    assert "bill" not in file.tree["products"][0]


@pytest.mark.parametrize(
    ("seen", "typo", "line", "field", "hint"),
    [
        ("boundary:", "boundry:", 3, "boundry", "did you mean boundary?"),
        ("time_zone: Asia/Shanghai", "time_zone: Asia/Shangai", 2, "time_zone", "Shanghai"),
        ("unit: kWh", "unit: kwH", 15, "instruments[0].registers[0].unit", "known units"),
        ("line: one", "line: onee", 18, "sources[0].line", "did you mean one?"),
        ("instrument: main\n    register", "instrument: mian\n    register", 19,
         "sources[0].instrument", "did you mean main?"),
        ("register: energy_import", "register: energy", 20, "sources[0].register", "did you mean"),
        ("profile: eastron/sdm630", "profile: eastron/sdm360", 14, "instruments[0].profile",
         "device list"),
        ("mpe_percent: 1", "mpe_percent: one", 26, "certificates[0].mpe_percent", ""),
        ("valid_from: 2026-01-01", "valid_from: soon", 27, "certificates[0].valid_from", "2026"),
        ("kind: verification", "kind: guess", 24, "certificates[0].kind", ""),
        ("bill: bom.csv", "bill: bomb.csv", 11, "products[0].bill", "relative"),
        ("factors: [factors.csv]", "factors: [f.csv]", 4, "factors[0]", "relative"),
        ("mass_kg: 1", "mass_kg: heavy", 10, "products[0].mass_kg", "0.01"),
    ],
)  # fmt: skip
def test_a_typo_is_told_with_its_line_and_what_to_do(write, seen, typo, line, field, hint):
    path = write(GOOD.replace(seen, typo, 1))
    error = only(path)
    assert (error.file, error.line, error.field) == (str(path), line, field)
    assert hint in error.hint


def test_all_faults_are_told_at_once_in_the_order_of_the_file(write):
    path = write(GOOD.replace("unit: kWh", "unit: kwH").replace("line: one", "line: two"))
    with pytest.raises(InputErrors) as told:
        load_plant(path)
    assert [error.line for error in told.value.errors] == [15, 18]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("site: [", 1),
        ("site: a\n\tb: c\n", 2),
        ("", 1),
        ("- a\n- b\n", 1),
        ("site: a\nsite: b\n", 2),
    ],
)
def test_what_is_no_plant_at_all_is_told_and_does_not_crash(write, text, line):
    found, faults = check_plant(write(text))
    assert found is None
    assert faults[0].line in (line, line + 1)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    error = only(tmp_path / "nowhere.yaml")
    assert "nowhere.yaml" in str(error)


def test_a_broken_row_of_a_factor_file_is_told_in_that_file(write):
    error = only(write(factors=FACTORS + "x,,material,CN,,,NaN,kgCO2e/kg,CO2e,AR6,,s,2025,\n"))
    assert Path(error.file).name == "factors.csv"
    assert (error.line, error.field) == (6, "value")


def test_a_broken_row_of_a_bill_is_told_in_that_file(write):
    error = only(write(bom=BOM + "glue,much,kg,,\n"))
    assert Path(error.file).name == "bom.csv"
    assert (error.line, error.field) == (3, "quantity")


def test_a_combustion_factor_is_derived_and_can_be_asked_for(write):
    text = GOOD + "derived_factors:\n  - {id: burn, ncv: ncv, carbon: cc, oxidation: of}\n"
    file = load_plant(write(text.replace("{id: ele.2024}", "{id: burn}")))
    name, rows = file.factors[-1]
    assert (name, rows[0]["id"], rows[0]["unit"]) == ("derived_factors", "burn", "kgCO2/Nm3")
    assert not file.warnings
    error = only(write(text.replace("carbon: cc", "carbon: of")))
    assert "no carbon content" in str(error)
    error = only(write(text.replace("carbon: cc", "carbon: nobody")))
    assert error.field == "derived_factors[0].carbon"


def test_what_will_leave_a_footprint_incomplete_is_a_warning_with_its_line(write):
    warnings = load_plant(write(bom=BOM + "glue,1,kg,,\n")).warnings
    assert [w.line for w in warnings] == [8]
    assert "glue has no factor" in str(warnings[0])
    asked = GOOD.replace("{id: ele.2024}", "{id: ele.2025}")
    assert "no factor has the id 'ele.2025'" in str(load_plant(write(asked)).warnings[0])


def test_the_command_answers_with_its_exit_code_and_json(write):
    run = CliRunner()
    good = run.invoke(app, ["check", str(write()), "--json"])
    assert good.exit_code == 0
    assert json.loads(good.stdout) == {"ok": True, "errors": [], "warnings": []}
    bad = run.invoke(app, ["check", str(write(GOOD.replace("unit: kWh", "unit: kwH"))), "--json"])
    assert bad.exit_code == 2
    assert json.loads(bad.stdout)["errors"][0]["line"] == 15


def test_the_shipped_steel_data_is_the_published_file(shared, tmp_path):
    mine = REPO / "examples/steel_plant/steel_2018h1.csv.gz"
    copy = tmp_path / "copy.gz"
    shutil.copy(shared / "data/steel_plant/steel_2018h1.csv.gz", copy)
    assert mine.read_bytes() == copy.read_bytes()
    assert "CC BY 4.0" in (REPO / "examples/steel_plant/README.md").read_text()
    assert "steel_2018h1" in (REPO / "NOTICE").read_text()


@pytest.mark.parametrize(
    ("zone", "window", "offset"),
    [
        ("UTC", 3600, 0),
        ("Asia/Shanghai", 3600, 0),
        ("Asia/Kolkata", 3600, 1800),
        ("Asia/Shanghai", 86_400, 28_800),
        ("America/New_York", 86_400, 68_400),
        ("Europe/Berlin", 86_400, 3600),
    ],
)
def test_pool_windows_begin_with_the_hours_and_days_of_the_plant(tmp_path, zone, window, offset):
    path = tmp_path / "plant.yaml"
    path.write_text(
        f"site: s\ntime_zone: {zone}\npolicy: {{pool_window_s: {window}}}\nlines: [{{id: l}}]\n"
    )
    plant = load_plant(path).plant
    assert plant.policy.pool_offset == offset * 10**9
    plan = PoolPlan([], plant, None)
    start, end = plan.window_at(1_790_000_000 * 10**9)
    local = datetime.fromtimestamp(start // 10**9, ZoneInfo(zone)).replace(tzinfo=None)
    standard = local - (datetime.fromtimestamp(start // 10**9, ZoneInfo(zone)).dst() or timedelta())
    assert (standard.minute, standard.second) == (0, 0)
    assert window < 86_400 or standard.hour == 0
    assert end - start == window * 10**9


TYPOS = {
    "site: demo-plant\n": ("", "site"),
    "time_zone:": ("timezone:", "timezone"),
    "Asia/Shanghai": ("Asia/Shangai", "time_zone"),
    "boundary: gate_to_gate": ("boundary: gate2gate", "boundary"),
    "id: line-2": ("id: line-1", "lines[1].id"),
    "    line: line-1": ("    line: line-9", "sources[0].line"),
    "register: energy_import": ("register: energy_imort", "sources[0].register"),
    "profile: eastron/sdm630": ("profile: eastron/sdm63", "instruments[0].profile"),
    "kind: counter": ("kind: conter", "instruments[0].registers[0].kind"),
    "resolution: 0.01": ("resolution: 0", "instruments[0].registers[0].resolution"),
    "unit: kWh": ("unit: kWhh", "instruments[0].registers[0].unit"),
    "mpe_percent: 1": ("mpe_percent: -1", "instruments[0].mpe_percent"),
    "ratio: 40": ("ratio: forty", "instruments[2].ratio"),
    "agent: gateway": ("agent: gate way", "instruments[0].agent"),
    "id: press-1": ("id: press.1", "instruments[0].id"),
    "site: demo-plant": ("site: demo/plant", "site"),
    "[factors.csv]": ("[factor.csv]", "factors[0]"),
    "valid_to: 2032-01-01": ("valid_to: 2032-13-01", "certificates[0].valid_to"),
    'error_percent: "0.30"': ('error_percent: "x"', "certificates[1].points[0].error_percent"),
    "pool_window_s: 5": ("pool_window_s: five", "policy.pool_window_s"),
    "key: good_mass": ("key: good_weight", "policy.key"),
}


@pytest.mark.parametrize("right", TYPOS)
def test_a_typo_is_told_with_its_line_field_and_what_to_do(tmp_path, right):
    wrong, field = TYPOS[right]
    demo = REPO / "meterprint" / "demo"
    text = (demo / "plant.yaml").read_text()
    shutil.copy(demo / "factors.csv", tmp_path)
    file = tmp_path / "plant.yaml"
    file.write_text(text.replace(right, wrong, 1))
    plant, faults = check_plant(file)
    assert plant is None
    named = [fault for fault in faults if fault.field == field]
    assert named, [str(fault) for fault in faults]
    line = text[: text.index(right) + len(right)].count("\n") + (0 if right.endswith("\n") else 1)
    assert field == "site" or named[0].line == line, named[0]
    assert all(fault.hint and fault.file for fault in faults)


@pytest.mark.parametrize("text", ["", "- a\n", "\t", "a: [", "\x00", "a: &a [x]\nb: *a\n"])
def test_a_file_that_is_no_plant_is_told_with_what_to_do(tmp_path, text):
    (tmp_path / "plant.yaml").write_text(text)
    plant, faults = check_plant(tmp_path / "plant.yaml")
    assert plant is None
    assert faults
    assert all(fault.hint for fault in faults)
