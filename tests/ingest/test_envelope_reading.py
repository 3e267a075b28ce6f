"""Reading a plain envelope quickly gives what reading it member by member gives, error and all."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.envelope_reading import _plain, read_envelope
from mrv.envelope import MAX_BYTES, parse
from mrv.errors import WireError
from mrv.strict_json import MAX_SAFE_INTEGER

BOUNDS = (-1, 0, 1, 999, MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 1, 2**63 - 1, 2**63)
odd = st.one_of(
    st.sampled_from([*BOUNDS, *(-b for b in BOUNDS), *map(str, BOUNDS)]),
    st.sampled_from([True, False, None, "", "0", "007", "١٢", " 1", "1_0", 1.0, 1.5, [], {}, [[]]]),
    st.sampled_from(["S", "X", "é", "a b", "a/b", "a\n", "\x00", "\x7f", "\u2028", "\ud83c"]),
    st.text(max_size=3),
    st.sampled_from(["n" * 32, "n" * 33, "n" * 64, "n" * 65, "n" * 128, "n" * 129]),
)


def plain():
    """Members of a plain envelope."""
    columns = [
        {"ch": f"m{i}.energy", "t0": str(10**18 + i), "dt": [0, 5], "v": [7, -8], "q": ["", ""]}
        for i in range(3)
    ]
    return {
        "v": 1,
        "site": "x",
        "agent": "gw-1",
        "stream": "线",
        "epoch": "0123456789abcdef",
        "seq": 3,
        "prev": "a" * 64,
        "t": "1000000000000000005",
        "mono": "12",
        "boot": "b",
        "clk": {"state": "S", "error_ms": 5, "source": "ntp"},
        "cfg": "c" * 64,
        "cols": columns,
        "ev": [],
    }


def text_of(members, **how):
    how = {"ensure_ascii": False, "separators": (",", ":"), **how}
    return json.dumps(members, **how).encode("utf-8", "surrogatepass") + b"\n"


@st.composite
def texts(draw):
    """A plain envelope with one or two odd things, told in JSON as anybody might write it."""
    members = plain()
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from([members, members["clk"], *members["cols"][:3]]))
        if not isinstance(place, dict) or not place:
            continue
        name = draw(st.sampled_from(sorted(place)))
        held = place[name]
        if isinstance(held, list) and held and draw(st.booleans()):
            held[draw(st.integers(0, len(held) - 1))] = draw(odd)
        elif draw(st.integers(0, 5)) == 0:
            place.pop(name)
        else:
            place[draw(st.sampled_from([name, name, name, "x", "raw", "len", "tag"]))] = draw(odd)
        if not isinstance(members.get("clk"), dict) or not isinstance(members.get("cols"), list):
            break
        members["cols"] = [c for c in members["cols"] if isinstance(c, dict)] or members["cols"]
        if not all(isinstance(c, dict) for c in members["cols"]):
            break
    how = draw(st.sampled_from([{}, {}, {}, {"ensure_ascii": True}, {"separators": (", ", ": ")}]))
    text = text_of(members, **how)
    if draw(st.integers(0, 3)) == 0:
        cut = draw(st.integers(0, len(text)))
        put = draw(
            st.sampled_from([b"", b"0", b"-", b".0", b"e1", b",", b"\n", b'"v":1,', b"\xff"])
        )
        text = text[:cut] + put + text[cut + draw(st.integers(0, 2)) :]
    return text


def outcome(read, text):
    try:
        return read(text)
    except WireError as error:
        return type(error), str(error)


@settings(max_examples=700, deadline=None)
@given(texts())
def test_both_readers_say_the_same(text):
    assert outcome(read_envelope, text) == outcome(parse, text)
    quick = _plain(text)
    assert quick is None or quick == parse(text)


def test_a_plain_envelope_is_read_quickly_with_the_types_of_the_contract():
    read, careful = _plain(text_of(plain())), parse(text_of(plain()))
    assert read == careful
    assert [type(c) for c in read.cols] == [type(c) for c in careful.cols]
    assert type(read.clk.state) is type(careful.clk.state)


def test_a_member_that_stands_twice_is_left_to_the_careful_reader():
    text = text_of(plain())
    for name in (b'"v":1,', b'"seq":3,', b'"mono":"12",'):
        twice = text.replace(name, name + name)
        assert _plain(twice) is None
        assert outcome(read_envelope, twice)[0] is WireError


def test_what_the_torture_set_holds_gets_the_verdict_of_the_careful_reader(shared):
    """Each text of the set in the place of a value, a column and the whole."""
    path = shared / "reference" / "evidence" / "json_malformed.jsonl"
    cases = [json.loads(line) for line in path.read_text().splitlines() if line]
    plain_text = text_of(plain())
    checked = 0
    for case in cases:
        raw = base64.b64decode(case["b64"])
        for text in (
            raw + b"\n",
            plain_text.replace(b'"seq":3', b'"seq":' + raw),
            plain_text.replace(b"[7,-8]", raw, 1),
            plain_text.replace(b'"m1.energy"', raw, 1),
        ):
            assert outcome(read_envelope, text) == outcome(parse, text), case["name"]
            checked += 1
    assert checked == 4 * len(cases) > 100


def test_what_is_nested_without_end_is_an_error_of_the_wire_and_no_crash():
    deep = b'{"unknown":' + b"[" * 30_000 + b"]" * 30_000 + b"}\n"
    assert len(deep) < MAX_BYTES
    with pytest.raises(WireError):
        read_envelope(deep)
