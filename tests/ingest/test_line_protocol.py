"""Line protocol: names and numbers come back from real servers as they went in."""

from __future__ import annotations

import itertools
import random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.claimed_spans import MOST, ClaimedSpans
from ingest.influx_connection import InfluxConnection
from ingest.influx_setup import prepare
from ingest.line_protocol import (
    TWINS,
    decode_name,
    encode_name,
    escape,
    head,
    lines,
    point,
    rows_in,
    rows_of,
    split_head,
)
from mrv.errors import InputError
from mrv.series import Series

NAMES = st.text(
    st.sampled_from("\\%,= '\"ab5C20中é./") | st.characters(exclude_categories=("C", "Z")),
    max_size=12,
)
HARD_NAMES = [
    "",
    "\\",
    "a\\",
    "a\\,b",
    "a\\\\=b\\",
    "a b,c=d",
    "%5C",
    "%",
    "%00",
    "%2500",
    "'",
    '"q"',
    "中文 电表=1",
    "#x",
    "a\\ ",
    " lead",
    "trail ",
    "=",
    ",",
]


@given(NAMES)
def test_a_name_comes_back_from_its_encoding(name):
    assert decode_name(encode_name(name)) == name
    assert "\\" not in encode_name(name)
    assert encode_name(name)


@given(NAMES, st.dictionaries(NAMES, NAMES, max_size=4))
def test_a_series_key_comes_back_from_its_head(measurement, tags):
    assert split_head(head(measurement, tags)[:-1]) == (measurement, tags)


def test_a_line_feed_is_refused_by_name():
    with pytest.raises(InputError, match="line feed"):
        escape("a\nreading value=1 1")


def test_plain_names_stand_as_they_are():
    assert escape("m1.energy") == "m1.energy"
    assert escape("a b,c=d") == "a\\ b\\,c\\=d"


@given(
    st.sets(
        st.tuples(st.just(1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**53))
        | st.tuples(st.just(0), st.just(0), st.integers(0, 2**53)),
        min_size=1,
        max_size=TWINS,
    )
)
def test_the_readings_of_a_point_come_back_exactly_whatever_their_size(rows):
    ordered = sorted(rows, reverse=True)
    text = point("reading ", 7, ordered)
    assert text.endswith(" 7")
    fields = dict(pair.split("=") for pair in text.split(" ")[1].split(","))
    assert not any(value.endswith("i") for value in fields.values()), "floats only"
    assert rows_in({name: float(value) for name, value in fields.items()}) == ordered


def test_a_failed_read_has_no_value():
    series = Series([1, 2], [5, 0], [1, 0])
    assert lines("reading ", series) == ["reading value=5 1", "reading failed=1 2"]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), max_size=40))
def test_a_claim_is_free_only_where_nothing_was_claimed(claims):
    spans, claimed = ClaimedSpans(), set()
    for low, length in claims:
        stretch = set(range(low, low + length + 1))
        if spans.claim(low, low + length):
            assert not stretch & claimed
        claimed |= stretch


def test_a_backlog_behind_live_data_stays_free_in_bounded_memory():
    spans = ClaimedSpans(until=1000)
    for t in itertools.chain(range(10**9, 10**9 + 50_000, 100), range(2000, 60_000, 100)):
        assert spans.claim(t, t + 90)
        assert len(spans._spans) <= MOST


@pytest.mark.influx
def test_hard_names_come_back_from_a_real_server(influxd):
    server = InfluxConnection(influxd.address("names"))
    prepare(server)
    tags = [{"n": str(i), "hard": name} for i, name in enumerate(HARD_NAMES)]
    measurement = "a mea,su=re\\"
    made = "\n".join(f"{head(measurement, t)}value=1 1" for t in tags)
    server.write(made.encode())
    (found,) = server.query("SHOW SERIES")
    keys = [split_head(text) for series in found for (text,) in series["values"]]
    keys.sort(key=lambda pair: int(pair[1]["n"]))
    assert keys == [(measurement, t) for t in tags]
    (found,) = server.query("SELECT value FROM /.*/ GROUP BY hard, n")
    assert {decode_name(s["tags"]["hard"]) for s in found} == set(HARD_NAMES)
    server.close()


@pytest.mark.influx
def test_integers_come_back_from_a_real_server_to_the_last_digit(influxd):
    server = InfluxConnection(influxd.address("numbers"))
    prepare(server)
    seed = random.Random(4)
    values = [0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
    values += [seed.randrange(-(2**63), 2**63) for _ in range(200)]
    series = Series(list(range(1, len(values) + 1)), values, [1] * len(values))
    server.write("\n".join(lines("reading ", series)).encode())
    (found,) = server.query("SELECT *::field FROM reading")
    names, rows = found[0]["columns"], found[0]["values"]
    back = [(row[0], rows_in(dict(zip(names[1:], row[1:], strict=True)))[0]) for row in rows]
    assert back == list(rows_of(series))
    rounded = httpx.post(
        f"{influxd.url}/query",
        data={"db": "numbers", "rp": "rp", "q": "SELECT value FROM reading", "epoch": "ns"},
        headers=dict(influxd.address().authorization),
    ).json()
    shown = [row[1] for row in rounded["results"][0]["series"][0]["values"]]
    assert [float(v) for v in shown] == [float(v) for v in values], "beyond 2^53 it is rounded"
    server.close()
