"""What scripts read: keys, exact decimals and exit statuses of every machine-readable output."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import jsonschema
import pytest

from meterprint import cli
from tests.conftest import REPO

DECIMAL = {"type": "string", "pattern": r"^-?\d+(\.\d*[1-9])?$"}
"""An exact decimal: plain, no exponent, no trailing zero."""
QUOTIENT = {"anyOf": [DECIMAL, {"type": "null"}]}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
TEXTS = {"type": "array", "items": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
COUNTS = {"type": "object", "additionalProperties": COUNT}
NOTES = {
    "type": "array",
    "items": {"type": "object", "required": ["zh", "en"]},
}


def record(**properties):
    """An object with at least these members; more may be added, none renamed."""
    return {"type": "object", "required": list(properties), "properties": properties}


BOOK = record(
    total=DECIMAL,
    batches=DECIMAL,
    open=DECIMAL,
    changeover=DECIMAL,
    idle=DECIMAL,
    unattributed=DECIMAL,
    residual={"const": "0"},
    unit={"type": "string"},
    resolution=DECIMAL,
)
STATES = record(provisional=COUNT, final=COUNT, final_estimated=COUNT, closed=COUNT)
REPLAY = record(
    batches={**STATES, "additionalProperties": False},
    heats=COUNT,
    readings=COUNT,
    registers={"type": "object", "additionalProperties": BOOK, "minProperties": 1},
    findings=COUNTS,
    journal=record(
        entries=COUNT, bytes=COUNT, root={"type": "string", "pattern": "^[0-9a-f]{64}$"}
    ),
    seconds={"type": "number", "exclusiveMinimum": 0},
    notes=NOTES,
)
CLAIM = record(
    rows=COUNT, agree=COUNT, claimed_t=DECIMAL, recomputed_t=DECIMAL, zero_rows_with_use=COUNT
)
STATE = {"enum": ["provisional", "final", "final_estimated", "closed"]}
BATCHES = {
    "type": "array",
    "items": record(
        batch={"type": "string"},
        product={"type": "string"},
        state=STATE,
        start=TIME,
        end={"anyOf": [TIME, {"type": "null"}]},
        quantity=DECIMAL,
        footprint=DECIMAL,
        footprint_unit={"const": "kgCO2e"},
        per_unit=QUOTIENT,
        u_per_unit=QUOTIENT,
        partial={"type": "boolean"},
        relative={"type": "boolean"},
    ),
}
VERIFY = record(
    ok={"type": "boolean"},
    batch={"type": "string"},
    footprint=QUOTIENT,
    footprint_unit={"const": "kgCO2e"},
    u=QUOTIENT,
    checks={
        "type": "array",
        "minItems": 8,
        "items": {
            **record(
                id={"type": "string", "pattern": "^[a-z_]+$"},
                result={"enum": ["pass", "fail", "not_checkable"]},
                expected={"type": "string"},
                actual={"type": "string"},
                file={"type": "string"},
            ),
            "additionalProperties": False,
        },
    },
    partial={"type": "boolean"},
    notes=NOTES,
)
FOOTPRINT = record(
    batch={"type": "string"},
    state=STATE,
    waits=TEXTS,
    incomplete=TEXTS,
    quantity=DECIMAL,
    footprint=DECIMAL,
    footprint_unit={"const": "kgCO2e"},
    u=DECIMAL,
    per_unit=QUOTIENT,
    u_per_unit=QUOTIENT,
    partial={"const": True},
    relative={"type": "boolean"},
    digest={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    notes=NOTES,
)
SELECTION = record(
    product={"type": "string"},
    sites=TEXTS,
    batches={
        "type": "array",
        "items": record(
            batch={"type": "string"}, digest={"type": "string"}, site={"type": "string"}
        ),
    },
    provisional=TEXTS,
    quantity=DECIMAL,
    footprint=DECIMAL,
    footprint_unit={"const": "kgCO2e"},
    u=DECIMAL,
    per_unit=QUOTIENT,
    u_per_unit=QUOTIENT,
    partial={"const": True},
)
RECONCILE = {
    "type": "array",
    "items": record(
        balance={"type": "string"},
        start=TIME,
        end=TIME,
        unit={"type": "string"},
        result={"enum": ["pass", "fail", "not_checkable"]},
        missing=TEXTS,
        residual=QUOTIENT,
        u=QUOTIENT,
        normalised=QUOTIENT,
        k=DECIMAL,
        meters={"type": "array", "items": record(channel={"type": "string"}, value=DECIMAL)},
    ),
}
FACTORS = {
    "type": "array",
    "minItems": 1,
    "items": record(
        id={"type": "string"},
        category={"type": "string"},
        value=DECIMAL,
        unit={"type": "string"},
        uncertainty_percent=DECIMAL,
        uncertainty_default={"type": "boolean"},
        unverified={"type": "boolean"},
        source={"type": "string"},
    ),
}
FACTOR = (
    "id,name,category,region,valid_from,valid_to,value,unit,gas_or_co2e,gwp_basis,"
    "uncertainty_pct,source,source_year,notes\n"
    "f,F,electricity_cfp,CN,,,0.7,kgCO2e/kWh,CO2e,AR6,,test,2025,\n"
)
PLANT = """
site: contract.example
time_zone: Asia/Shanghai
notes: [{zh: 仅为示例, en: An example only}]
factors: [factors.csv]
policy: {pool_window_s: 3600}
lines: [{id: l}]
products: [{id: p, unit: piece}]
instruments:
  - {id: m, mpe_percent: 1, registers: [{id: e, kind: counter, unit: kWh, resolution: 0.1}]}
  - {id: s1, registers: [{id: e, kind: counter, unit: kWh, resolution: 0.1}]}
  - {id: s2, registers: [{id: e, kind: counter, unit: kWh, resolution: 0.1}]}
sources: [{id: power, line: l, instrument: m, register: e, factor: {id: f}}]
balances: [{id: main, main: m.e, subs: [s1.e, s2.e]}]
"""
MAP = """
agent: replay.contract
stream: l
time_format: "%Y-%m-%dT%H:%M:%S%z"
tables:
  - file: counters.csv
    kind: counter
    time: at
    columns:
      - {column: main, channel: m.e, resolution: 0.1, unit: kWh}
      - {column: one, channel: s1.e, resolution: 0.1, unit: kWh}
      - {column: two, channel: s2.e, resolution: 0.1, unit: kWh}
batches: {line: l, product: p, by: day, prefix: day-, good: "3"}
"""


def run(*arguments, status=0):
    """Run the program in this process, as its entry point does."""
    out, errors = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["meterprint", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    done = SimpleNamespace(stdout=out.getvalue(), stderr=errors.getvalue(), returncode=code)
    assert code == status, done
    return done


def answer(*arguments, schema, status=0):
    value = json.loads(run(*arguments, "--json", status=status).stdout)
    jsonschema.validate(value, schema)
    return value


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    (folder / "plant.yaml").write_text(PLANT)
    (folder / "map.yaml").write_text(MAP)
    (folder / "factors.csv").write_text(FACTOR)
    rows = ["at,main,one,two"]
    for hour in range(73):
        day, rest = divmod(hour, 24)
        when = f"2026-03-{day + 1:02d}T{rest:02d}:00:00+0000"
        rows.append(f"{when},{hour * 30 / 10},{hour * 10 / 10},{hour * 12 / 10}")
    (folder / "counters.csv").write_text("\n".join(rows) + "\n")
    state = folder / "state"
    report = answer("replay", folder, "--state", state, schema=REPLAY)
    return folder, state, report


def test_replay_gives_its_keys_and_a_residual_of_nothing(replayed):
    _, _, report = replayed
    assert report["heats"] == sum(report["batches"].values()) > 0
    assert report["readings"] == 3 * 73
    book = report["registers"]["m/e"]
    parts = ("batches", "open", "changeover", "idle", "unattributed")
    assert sum(Fraction(book[name]) for name in parts) == Fraction(book["total"]) == 216
    assert report["notes"] == [{"zh": "仅为示例", "en": "An example only"}]


def test_the_claim_of_the_steel_plant_has_its_keys(tmp_path):
    report = answer("replay", "--example", "steel_plant", "--state", tmp_path / "s", schema=REPLAY)
    jsonschema.validate(report["claim"], CLAIM)


def test_batches_footprints_and_a_product_over_a_period(replayed):
    _, state, _ = replayed
    rows = answer("batch", "list", "--state", state, schema=BATCHES)
    assert all(row["partial"] and not row["relative"] for row in rows)
    first = rows[0]
    figure = answer("footprint", first["batch"], "--state", state, schema=FOOTPRINT)
    assert (figure["footprint"], figure["per_unit"]) == (first["footprint"], first["per_unit"])
    assert Fraction(figure["footprint"]) == 72 * Fraction("0.7")
    period = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-03-31T00:00:00+08:00")
    total = answer("footprint", "--product", "p", *period, "--state", state, schema=SELECTION)
    settled = [row for row in rows if row["state"] != "provisional"]
    assert Fraction(total["footprint"]) == sum(Fraction(row["footprint"]) for row in settled)
    text = run("footprint", first["batch"], "--state", state).stdout
    assert "partial footprint" in text
    assert "产品部分碳足迹" in text
    assert "An example only" in text
    assert "产品部分碳足迹" in run("batch", "list", "--state", state).stdout


def test_a_quotient_has_fifteen_digits_half_even(replayed):
    _, state, _ = replayed
    rows = answer("batch", "list", "--state", state, schema=BATCHES)
    for row in rows:
        digits = row["per_unit"].replace(".", "").lstrip("0")
        assert len(digits) <= 15
    assert any(len(row["per_unit"]) > 2 for row in rows)


def test_bundle_and_verify(replayed, tmp_path):
    _, state, _ = replayed
    root = run("keys", "show", "--state", state).stdout.strip()
    file = tmp_path / "x.zip"
    run("bundle", "day-2026-03-02", "-o", file, "--state", state)
    verdict = answer("verify", file, "--trust", root, "--state", state, schema=VERIFY)
    assert verdict["ok"]
    assert verdict["notes"] == [{"zh": "仅为示例", "en": "An example only"}]
    alone = answer("verify", file, schema=VERIFY, status=1)
    assert not alone["ok"]
    module = subprocess.run(
        [sys.executable, "-m", "footprint.verify", str(file), "--trust", root, "--json"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(module.stdout) == verdict
    text = run("verify", file, "--trust", root).stdout
    assert "partial footprint" in text
    assert "An example only" in text
    run("bundle", "nobody", "-o", file, "--state", state, status=2)


def test_reconcile_ends_with_one_where_a_balance_does_not_close(replayed):
    _, state, _ = replayed
    rows = answer("reconcile", "--state", state, schema=RECONCILE, status=1)
    results = [row["result"] for row in rows]
    assert results == ["not_checkable", "fail", "fail", "not_checkable"]
    assert rows[1]["start"] == "2026-03-01T16:00:00.000Z"
    assert rows[1]["residual"] == "19.2"
    only = ("--from", "2026-03-03T00:00:00+08:00", "--to", "2026-03-04T00:00:00+08:00")
    (row,) = answer("reconcile", *only, "--state", state, schema=RECONCILE, status=1)
    assert row["start"] == "2026-03-02T16:00:00.000Z"
    run("reconcile", "--balance", "nobody", "--state", state, status=2)


def test_factors_are_imported_and_listed(replayed, tmp_path):
    _, state, _ = replayed
    more = tmp_path / "more.csv"
    more.write_text(FACTOR.replace("f,F,", "g,G,").replace(",,test", ",12.5,test"))
    taken = answer("factors", "import", more, "--state", state, schema=record(set={}, rows=COUNT))
    assert taken["rows"] == 1
    rows = {r["id"]: r for r in answer("factors", "list", "--state", state, schema=FACTORS)}
    assert rows["f"]["uncertainty_default"]
    assert (rows["g"]["uncertainty_percent"], rows["g"]["uncertainty_default"]) == ("12.5", False)
    more.write_text(FACTOR.replace("0.7", "about one"))
    done = run("factors", "import", more, "--state", state, status=2)
    assert f"{more}:2: value:" in done.stderr


def test_certificates_and_exchanges_name_what_is_unknown(replayed, tmp_path):
    _, state, _ = replayed
    paper = tmp_path / "c.yaml"
    paper.write_text(
        "id: C-1\nkind: verification\ninstrument: m\nmpe_percent: 0.5\nvalid_from: 2026-01-01\n"
        "valid_to: 2026-02-01\n"
    )
    stated = record(chain={"const": "registry"}, seq=COUNT, type={}, subject={})
    answer("certificate", "record", paper, "--state", state, schema=stated)
    answer("certificate", "approve", "C-1", "--author", "x", "--state", state, schema=stated)
    at = ("--at", "2026-01-15T00:00:00+08:00")
    answer("certificate", "revoke", "C-1", *at, "--state", state, schema=stated)
    (row,) = json.loads(run("certificate", "list", "--state", state, "--json").stdout)
    assert (row["certificate"], row["approved"], row["state"]) == ("C-1", True, "revoked")
    done = run("certificate", "approve", "C-2", "--author", "x", "--state", state, status=2)
    assert "certificates: C-1" in done.stderr
    paper.write_text(paper.read_text().replace("instrument: m", "instrument: nobody"))
    done = run("certificate", "record", paper, "--state", state, status=2)
    assert f"{paper}:3: instrument:" in done.stderr
    pair = ("--closing", "e=1", "--opening", "e=0", *at, "--state", state)
    assert "instruments: m" in run("instrument", "exchange", "ghost", *pair, status=2).stderr
    ratio = ("--ratio", "0")
    run("instrument", "exchange", "m", *pair, *ratio, status=2)
    run("instrument", "exchange", "m", "--closing", "x=1", "--opening", "x=0", *at,
        "--state", state, status=2)  # fmt: skip
    answer("instrument", "exchange", "m", *pair, schema=stated)


def test_every_command_takes_a_state_directory():
    from typer.main import get_command

    from meterprint.cli import app

    def leaves(command, path=()):
        for name, inner in getattr(command, "commands", {}).items():
            if hasattr(inner, "commands"):
                yield from leaves(inner, (*path, name))
            else:
                yield " ".join((*path, name)), {o for p in inner.params for o in p.opts}

    found = dict(leaves(get_command(app)))
    assert len(found) > 30
    assert [name for name, options in found.items() if "--state" not in options] == []
    lists = [name for name in found if name.endswith("list")]
    assert [name for name in lists if "--json" not in found[name]] == []


def test_a_mistake_in_the_call_ends_with_two(replayed):
    _, state, _ = replayed
    run("footprint", "--state", state, status=2)
    run("footprint", "--product", "p", "--state", state, status=2)
    run("footprint", "nobody", "--state", state, status=2)
    late = ("--from", "2026-03-02T00:00:00Z", "--to", "2026-03-01T00:00:00Z")
    run("footprint", "--product", "p", *late, "--state", state, status=2)
    done = run(
        *("footprint", "--product", "q", "--from", late[3], "--to", late[1], "--state", state),
        status=2,
    )
    assert "products: p" in done.stderr
    empty = ("--from", "2020-01-01T00:00:00Z", "--to", "2020-02-01T00:00:00Z")
    run("footprint", "--product", "p", *empty, "--state", state, status=1)
    run("batch", "list", "--state", state / "nowhere", status=2)
    run("no-such-command", status=2)
