"""Tables as readings: every kind, CSV and Parquet alike, as fast as it goes or paced."""

from __future__ import annotations

import datetime as dt
import time
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_agent.mapping import read_mapping
from edge_agent.replay import channel_table, due, read_replay
from edge_agent.source import RawReading
from meterprint.parquet_table import read_parquet
from meterprint.replay import _pace
from mrv.errors import InputError

S = 10**9
T = 1_767_225_600 * S  # 2026-01-01T00:00:00Z
MAP = """
agent: r
stream: s
time_format: "%Y-%m-%d %H:%M:%S"
tables:
  - file: meter.{suffix}
    kind: counter
    time: at
    columns:
      - {{column: kwh, channel: m.energy, resolution: 0.01, unit: kWh}}
  - file: meter.{suffix}
    kind: gauge
    time: at
    columns:
      - {{column: kw, channel: m.power, resolution: 0.001, unit: kW}}
  - file: quarter.{suffix}
    kind: amount
    time: at
    length_s: 900
    stamped: end
    columns:
      - {{column: used, channel: q.energy, resolution: 0.1, unit: kWh}}
  - file: scale.{suffix}
    kind: amount
    time: at
    batch: heat
    columns:
      - {{column: kg, channel: w.weight, resolution: 1, unit: kg}}
batches: {{line: l, product: p, by: key, prefix: h, good: "1"}}
"""
TABLES = {
    "meter": {
        "at": ["2026-01-01 00:00:00", "2026-01-01 00:00:01", "2026-01-01 00:00:02"],
        "kwh": ["100.00", "100.07", "100.10"],
        "kw": ["12.5", "", "11.125"],
    },
    "quarter": {"at": ["2026-01-01 00:15:00", "2026-01-01 00:30:00"], "used": ["3.3", "0.1"]},
    "scale": {"at": ["2026-01-01 00:01:00"], "heat": ["800"], "kg": ["1250"]},
}


def as_csv(folder):
    for name, columns in TABLES.items():
        rows = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")


def as_parquet(folder):
    """The same data as somebody's data frame would hold it: stamps, decimals, floats, integers."""

    def typed(name, texts):
        if name == "at":
            return pa.array([dt.datetime.fromisoformat(t) for t in texts], pa.timestamp("ns"))
        if name == "kwh":
            return pa.array([Decimal(t) for t in texts], pa.decimal128(12, 2))
        if name in ("kw", "used"):
            return pa.array([float(t) if t else None for t in texts], pa.float64())
        return pa.array([int(t) for t in texts])

    for name, columns in TABLES.items():
        table = pa.table({column: typed(column, texts) for column, texts in columns.items()})
        pq.write_table(table, folder / f"{name}.parquet")


def content(folder, suffix):
    (folder / "map.yaml").write_text(MAP.format(suffix=suffix))
    mapping = read_mapping(folder / "map.yaml")
    return mapping, read_replay(mapping, folder, {".parquet": read_parquet})


def test_counter_gauge_interval_and_tagged_amount_are_the_same_from_csv_and_parquet(tmp_path):
    as_csv(tmp_path)
    as_parquet(tmp_path)
    mapping, from_csv = content(tmp_path, "csv")
    _, from_parquet = content(tmp_path, "parquet")
    assert from_parquet.readings == from_csv.readings
    assert from_parquet.batches == from_csv.batches
    assert from_csv.findings == []
    rows = {(r.channel, (r.t - T) // S): (r.v, r.length // S, r.tag) for r in from_csv.readings}
    assert rows == {
        ("m.energy", 0): (10_000, 0, ""),
        ("m.energy", 1): (10_007, 0, ""),
        ("m.energy", 2): (10_010, 0, ""),
        ("m.power", 0): (12_500, 0, ""),
        ("m.power", 2): (11_125, 0, ""),
        ("q.energy", 0): (33, 900, ""),
        ("q.energy", 900): (1, 900, ""),
        ("w.weight", 60): (1250, 0, "h800"),
    }
    kinds = {c.name: c.kind.value for c in channel_table(mapping, "s").channels}
    assert kinds == {
        "m.energy": "counter",
        "m.power": "gauge",
        "q.energy": "amount",
        "w.weight": "amount",
    }


def test_zones_and_parts_of_a_second_survive_a_parquet_stamp(tmp_path):
    as_parquet(tmp_path)
    stamps = pa.array([T // 1000 + 250_000], pa.timestamp("us", "UTC"))
    local = stamps.cast(pa.timestamp("us", "Asia/Shanghai"))
    table = pa.table({"at": local, "kwh": pa.array([1]), "kw": pa.array([2.0])})
    pq.write_table(table, tmp_path / "meter.parquet")
    _, found = content(tmp_path, "parquet")
    assert {r.t for r in found.readings if r.channel == "m.energy"} == {T + 250_000_000}


def test_a_value_that_is_no_number_is_a_finding_and_its_neighbours_are_read(tmp_path):
    as_parquet(tmp_path)
    stamps = pa.array([T // 1000, T // 1000 + 10**6], pa.timestamp("us"))
    table = pa.table({"at": stamps, "kwh": [float("nan"), 2.0], "kw": [1.0, 1.0]})
    pq.write_table(table, tmp_path / "meter.parquet")
    _, found = content(tmp_path, "parquet")
    assert [f.rule for f in found.findings] == ["broken_row"]
    assert [r.v for r in found.readings if r.channel == "m.energy"] == [200]


@pytest.mark.parametrize(
    ("file", "row", "word"),
    [
        ("meter", "2026-01-01 00:00:03,9e40,1", "64 bits"),
        ("meter", "1925-01-01 00:00:03,101,1", "1970"),
        ("scale", f"2026-01-01 00:02:00,{'h' * 200},1", "128 characters"),
    ],
)
def test_what_no_envelope_can_carry_is_a_finding_with_its_line(tmp_path, file, row, word):
    as_csv(tmp_path)
    path = tmp_path / f"{file}.csv"
    lines = path.read_text().count("\n")
    path.write_text(path.read_text() + row + "\n")
    _, found = content(tmp_path, "csv")
    broken = [f for f in found.findings if f.rule == "broken_row"]
    assert broken
    assert broken[0].subject.endswith(f"{file}.csv:{lines + 1}")
    assert word in dict(broken[0].numbers)["reason"]


@pytest.mark.parametrize("suffix", ["parquet", "xlsx"])
def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path, suffix):
    as_csv(tmp_path)
    (tmp_path / f"meter.{suffix}").write_bytes(b"no table")
    with pytest.raises(InputError) as caught:
        content(tmp_path, suffix)
    assert caught.value.file.endswith(f"meter.{suffix}")
    assert caught.value.hint


def test_due_is_where_the_future_begins():
    rows = [RawReading("m.e", t, 0, t) for t in (0, 0, 5, 5, 9)]
    assert [due(rows, 0, t) for t in (-1, 0, 4, 5, 9, 100)] == [0, 2, 2, 4, 5, 5]
    assert due(rows, 3, 0) == 3


class Taker:
    """Stands where the agent stands and notes when portions came."""

    def __init__(self):
        self.taken, self.flushes = [], []

    def add(self, readings):
        self.taken += readings

    def flush(self):
        self.flushes.append((time.monotonic(), len(self.taken)))


def test_a_paced_replay_never_runs_ahead_of_its_time(tmp_path):
    as_csv(tmp_path)
    _, found = content(tmp_path, "csv")
    taker, begun, speed = Taker(), time.monotonic(), 2000
    _pace(taker, found, lambda *_: None, speed)
    assert taker.taken == found.readings
    assert len(taker.flushes) > 1
    for at, count in taker.flushes:
        last = found.readings[count - 1].t - found.readings[0].t
        assert (at - begun) * speed >= last / S
