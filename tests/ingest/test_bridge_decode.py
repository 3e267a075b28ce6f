"""Foreign JSON: exact numbers, named outcomes, never a crash."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.bridge_decode import Decoder
from ingest.bridge_json import Refused, at, read_json
from ingest.bridge_number import NotExact, OutOfRange, counts, iso_ns, unix_ns
from tests.ingest.bridging import BRIDGES, NOW, mapping, mappings, message, plant

MS = NOW // 10**6
TOPIC = b"shop/sh-01/energy"
MAPPING, MODEL = mapping(), plant()


@pytest.fixture
def decoder():
    return Decoder(mapping(), plant())


def rows(decoded):
    return dict(decoded.rows)


def test_a_message_becomes_integers_of_the_resolution(decoder):
    found = rows(decoder.decode(TOPIC, message(MS), NOW))
    assert found == {
        "press.energy": (NOW, 123450, "", 0, ""),  # 1,234,500 Wh in hundredths of a kWh
        "press.power": (NOW, 1500, "", 0, ""),  # 1,500 W in watts
    }


def test_devices_are_told_apart_by_the_topic(decoder):
    found = rows(decoder.decode(b"shop/sh-02/energy", message(MS), NOW))
    assert set(found) == {"oven.energy", "oven.power"}


def test_an_amount_has_its_interval_and_batch(decoder):
    body = b'{"time":"2025-11-24T16:00:00+00:00","kg":12.5,"batch":"B-7"}'
    ((channel, row),) = decoder.decode(b"scale/out", body, NOW).rows
    assert channel == "scale.mass"
    assert row == (NOW - 60 * 10**9, 125, "", 60 * 10**9, "B-7")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b'{"ts":1', "malformed"),
        (b'{"total":NaN}', "malformed"),
        (b'{"total":-Infinity}', "malformed"),
        (b'{"ts":1,"ts":2}', "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"{}", "no_time"),
        (b"[]", "no_time"),
        (b"7", "no_time"),
        (message("null"), "no_time"),
        (message('"soon"'), "no_time"),
        (message("1e99"), "no_time"),
        (message("9" * 5000), "no_time"),
        (message(MS + 61_000), "time_ahead"),
        (message(MS - 86_401_000), "time_behind"),
        (message(-5), "no_time"),
    ],
)
def test_a_message_that_cannot_be_placed_is_refused_by_name(decoder, body, reason):
    with pytest.raises(Refused) as refused:
        decoder.decode(TOPIC, body, NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"total": '"1234500"'}, "not_a_number"),
        ({"total": "true"}, "not_a_number"),
        ({"total": "[1]"}, "not_a_number"),
        ({"total": "null"}, "missing"),
        ({"total": "1234500.0001"}, "too_fine"),
        ({"total": "1e-30"}, "too_fine"),
        ({"total": "1e400"}, "out_of_range"),
        ({"total": "9" * 4000}, "out_of_range"),
        ({"total": "1000000000"}, "out_of_range"),  # = the register's modulus
        ({"total": "-10"}, "out_of_range"),
        ({"unit": '"kWh"'}, "wrong_unit"),
        ({"unit": "null"}, "wrong_unit"),
    ],
)
def test_a_bad_value_is_a_flagged_null_and_the_others_stand(decoder, change, flag):
    decoded = decoder.decode(TOPIC, message(MS, **change), NOW)
    found = rows(decoded)
    assert found["press.energy"][1:3] == (None, flag)
    assert found["press.power"][1:3] == (1500, "")
    assert list(decoded.flags) == [("press.energy", flag)]


def test_a_missing_pointer_and_a_bad_quality_are_nulls(decoder):
    body = message(MS).replace(b'"power"', b'"other"')
    assert rows(decoder.decode(TOPIC, body, NOW))["press.power"][1:3] == (None, "missing")
    found = rows(decoder.decode(TOPIC, message(MS + 1, ok="false"), NOW))
    assert {row[1:3] for row in found.values()} == {(None, "bad_quality")}


def test_nobodys_messages_are_refused(decoder):
    for topic, reason in (
        (b"shop/sh-09/energy", "unknown_device"),
        (b"shop/sh-01/energy/more", "unknown_topic"),
        (b"else", "unknown_topic"),
        (b"\xff", "unknown_topic"),
    ):
        with pytest.raises(Refused) as refused:
            decoder.decode(topic, message(MS), NOW)
        assert refused.value.reason == reason


def test_endless_strange_names_leave_nothing_behind():
    text = BRIDGES.replace("topic: scale/out", "topic: scale/+")
    decoder = Decoder(mapping(text), plant())
    body = b'{"time":"2025-11-24T16:00:00Z","kg":1}'
    tracemalloc.start()
    for i in range(3000):
        with suppress(Refused):
            decoder.decode(b"shop/" + b"%d" % i * 2000 + b"/energy", message(MS), NOW)
        decoder.decode(b"scale/" + b"%d" % i * 2000, body, NOW)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000


def test_the_same_again_is_a_duplicate_and_another_value_a_conflict(decoder):
    first = decoder.decode(TOPIC, message(MS), NOW)
    again = decoder.decode(TOPIC, message(MS), NOW + 10**9, again=True)
    assert len(first.rows) == 2
    assert again.duplicate
    assert not again.rows
    with pytest.raises(Refused) as refused:
        decoder.decode(TOPIC, message(MS, total="1234600"), NOW)
    assert refused.value.reason == "conflict"


def test_a_good_value_follows_a_null_of_the_same_time(decoder):
    decoder.decode(TOPIC, message(MS, total="null"), NOW)
    found = rows(decoder.decode(TOPIC, message(MS), NOW))
    assert found == {"press.energy": (NOW, 123450, "", 0, "")}


def test_what_is_stamped_on_receipt_and_sent_again_claims_nothing(decoder):
    first = rows(decoder.decode(b"bare/press", b'"1.5"', NOW))
    again = rows(decoder.decode(b"bare/press", b'"1.5"', NOW + 1, again=True))
    assert first["press.power"] == (NOW, 1500, "", 0, "")
    assert again["press.power"] == (NOW + 1, None, "redelivered", 0, "")


def test_what_the_broker_had_kept_was_not_read_now(decoder):
    """A retained message comes at every subscription, however old it is."""
    kept = rows(decoder.decode(b"bare/press", b'"1.5"', NOW, retained=True))
    assert kept == {"press.power": (NOW, None, "retained", 0, "")}
    stamped = rows(decoder.decode(TOPIC, message(MS), NOW, retained=True))
    assert stamped["press.energy"] == (NOW, 123450, "", 0, "")
    assert decoder.decode(TOPIC, message(MS), NOW + 5, retained=True).duplicate


@pytest.mark.parametrize("text", ['{"batch":"\\ud800"}', '["\\udc00"]', '"\\ud83d"'])
def test_half_a_surrogate_pair_is_no_text(text):
    with pytest.raises(Refused, match="surrogate"):
        read_json(text.encode())
    assert read_json(rb'"\ud83d\ude00"') == "😀"


def test_rounding_is_flagged_and_only_where_it_is_asked_for():
    text = BRIDGES.replace("unit: W}", "unit: W, finer: round}")
    decoder = Decoder(mapping(text), plant())
    found = rows(decoder.decode(TOPIC, message(MS, power="1499.5"), NOW))
    assert found["press.power"][1:3] == (1500, "rounded")


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 12),
    st.integers(0, 12),
    st.fractions(Fraction(1, 1000), 1000, max_denominator=1000),
)
def test_decoding_an_encoded_integer_gives_it_back(count, places, zeros, scale):
    """value = count × resolution / scale, written as a decimal, is the count again."""
    resolution = Fraction(1, 10**places) * scale
    text = str(Decimal(count).scaleb(-places))
    if "." in text and "E" not in text:
        text += "0" * zeros
    factor = scale / resolution
    if len(text) <= 64:
        assert counts(text, factor.numerator, factor.denominator) == count


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?\Z"))
def test_a_number_is_exact_or_refused(text):
    """The referee is Fraction: the result equals it or the refusal says why."""
    exact = Fraction(text) * 100 if "e" not in text.lower() else Fraction(Decimal(text)) * 100
    try:
        found = counts(text, 100, 1)
    except NotExact:
        assert exact.denominator != 1
    except OutOfRange:
        power = int(text.lower().partition("e")[2] or 0)
        assert not -(2**63) <= exact < 2**63 or abs(power) > 40
    else:
        assert found == exact


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 4 * 10**18), st.sampled_from([9, 6, 3, 0]))
def test_times_are_exact(moment, digits):
    text = str(moment // 10**digits)
    if digits:
        text += "." + str(moment % 10**digits).rjust(digits, "0")
    assert unix_ns(text, digits) == moment


@pytest.mark.parametrize(
    ("text", "digits", "ns"),
    [
        ("1.764e+18", 0, 1_764_000_000 * 10**9),
        ("1.7640000005E9", 9, 1_764_000_000 * 10**9 + 500_000_000),
        ("17640000000005e-4", 9, 1_764_000_000 * 10**9 + 500_000),
        ("0.9", 0, 0),
    ],
)
def test_a_time_may_be_written_with_an_exponent(text, digits, ns):
    assert unix_ns(text, digits) == ns


@pytest.mark.parametrize("text", ["1e99", "1e-99", "1e", ".5", "1.", "+1", "0x1", "١٢", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="no time"):
        unix_ns(text, 9)


@pytest.mark.parametrize("zone", ["+24:00", "-99:00", "+08:60"])
def test_an_offset_no_zone_has_is_refused(zone):
    with pytest.raises(ValueError, match="offset"):
        iso_ns(f"2026-01-01T00:00:00{zone}", None)


def test_iso_times_agree_with_the_standard_library():
    from datetime import datetime

    for text in (
        "2026-02-28T23:59:59.123456+08:00",
        "2024-02-29 00:00:00Z",
        "1999-12-31T12:00:00-03:30",
    ):
        referee = datetime.fromisoformat(text)
        micros = (referee - datetime.fromisoformat("1970-01-01T00:00:00+00:00")).total_seconds()
        assert iso_ns(text, None) == pytest.approx(micros * 1e9, rel=1e-15)
    assert iso_ns("2026-01-01T08:00:00", 8 * 3600) == iso_ns("2026-01-01T00:00:00Z", None)
    for text in ("2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "now"):
        with pytest.raises(ValueError):
            iso_ns(text, None)


def test_pointers_follow_the_examples_of_rfc_6901():
    document = read_json(
        b'{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\\\j":5,"k\\"l":6," ":7,"m~n":8}'
    )
    from footprint.reader import Node
    from ingest.bridge_file import pointer_of

    expected = {
        "": document,
        "/foo": ["bar", "baz"],
        "/foo/0": "bar",
        "/": "0",
        "/a~1b": "1",
        "/c%d": "2",
        "/e^f": "3",
        "/g|h": "4",
        "/i\\j": "5",
        '/k"l': "6",
        "/ ": "7",
        "/m~0n": "8",
    }
    for text, value in expected.items():
        faults = []
        assert at(document, pointer_of(Node(text, "at", faults))) == value, text
        assert not faults


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
        ),
        max_leaves=12,
    ),
    st.binary(max_size=40),
    st.integers(0, 60),
)
def test_no_payload_crashes_the_decoder(document, noise, place):
    decoder = Decoder(MAPPING, MODEL)
    whole = json.dumps(document).encode()
    real = message(MS)
    for payload in (whole, noise, real[:place] + noise + real[place:], real[:place]):
        for topic in (TOPIC, b"bare/press", b"scale/out"):
            with suppress(Refused):
                for _, row in decoder.decode(topic, payload, NOW).rows:
                    assert row[1] is None or -(2**63) <= row[1] < 2**63


@pytest.mark.parametrize(
    ("old", "new", "field", "word"),
    [
        (
            "topic: shop/{device}/energy",
            "topic: shop/{device}/{device}",
            "messages[0].topic",
            "{device}",
        ),
        ("topic: shop/{device}/energy", "topic: shop/{device}/#/x", "messages[0].topic", "levels"),
        ("topic: shop/{device}/energy", "topic: shop/x/energy", "messages[0].instrument", "whose"),
        (
            "register: energy, unit: Wh",
            "register: energi, unit: Wh",
            "messages[0].values[0].register",
            "register",
        ),
        ("unit: Wh", "unit: kg", "messages[0].values[0].unit", "kWh"),
        ("unit: Wh", "unit: furlong", "messages[0].values[0].unit", "unit"),
        ("at: /total", "at: total", "messages[0].values[0].at", "pointer"),
        ("at: /total", "at: /a~2", "messages[0].values[0].at", "pointer"),
        ('"sh-02": oven', '"sh-02": ovn', "messages[0].instrument.sh-02", "instrument"),
        ("as: unix_ms", "as: unix", "messages[0].time.as", "one of"),
        ("time: {at: /time}", "time: received", "messages[1].values[0].register", "amount"),
        ("flush_ms: 50", "flush_ms: 5", "flush_ms", "20"),
        ("agent: hall-bridge", "agent: hall bridge", "agent", "letters"),
        ("flush_ms", "flsh_ms", "flsh_ms", "unknown"),
        (
            "/now/power, register: power",
            "/now/power, register: energy",
            "messages[0].values[1].register",
            "register",
        ),
        ("behind_s: 86400", "behind_s: 99999999", "messages[0].time.behind_s", "at most"),
        ("flush_ms: 50", "flush_ms: 60000", "flush_ms", "at most"),
        ("length_s: 60", "length_s: 31536000", "messages[1].values[0].length_s", "at most"),
        ("{at: /time}", "{at: /time, offset: '+26:00'}", "messages[1].time.offset", "offset"),
        ("stream: hall", "stream: hall\n  broker: {port: 99999}", "broker.port", "TCP port"),
    ],
)
def test_a_fault_of_a_mapping_names_its_field(old, new, field, word):
    _, faults = mappings(BRIDGES.replace(old, new, 1))
    assert any(
        fault.field == f"[0].{field}" and word in f"{fault} {fault.hint}" for fault in faults
    ), [(f.field, str(f)) for f in faults]
