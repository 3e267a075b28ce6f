from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.decode import Decoded, decode, decode_text, encode
from device_profiles.loading import load_profile
from device_profiles.profile import Register, RegisterType, WordOrder
from mrv.errors import InputError

BASE = load_profile("fuxin/gas_corrector").register("volume_standard")


def register(kind: RegisterType, size: int, **changes) -> Register:
    return replace(BASE, type=kind, size=size, scale=Fraction(1), resolution=Fraction(1), **changes)


INTEGERS = [
    (RegisterType.U16, 2, 0, 2**16 - 1),
    (RegisterType.I16, 2, -(2**15), 2**15 - 1),
    (RegisterType.U32, 4, 0, 2**32 - 1),
    (RegisterType.I32, 4, -(2**31), 2**31 - 1),
    (RegisterType.U64, 8, 0, 2**63 - 1),
    (RegisterType.I64, 8, -(2**63), 2**63 - 1),
    (RegisterType.BCD, 6, 0, 10**12 - 1),
    (RegisterType.DLT645, 4, 0, 10**8 - 1),
]


@pytest.mark.parametrize(("kind", "size", "low", "high"), INTEGERS)
@pytest.mark.parametrize("order", list(WordOrder))
@given(data=st.data())
def test_decode_undoes_encode_over_the_whole_range(kind, size, low, high, order, data):
    value = data.draw(st.integers(low, high) | st.sampled_from([low, high]))
    shown = register(kind, size, word_order=order)
    assert decode(shown, encode(shown, value)).v == value


@pytest.mark.parametrize("shown", [2**63, 2**64 - 2])
def test_a_value_beyond_64_bits_is_no_value_and_does_not_spoil_its_envelope(shown):
    """Torn words or a sentinel nobody told of; an envelope carries 64 bits with sign."""
    raw = shown.to_bytes(8, "big")
    assert decode(register(RegisterType.U64, 8), raw) == Decoded(None, "out_of_range")
    huge = struct.pack(">d", 1.7e308)
    assert decode(register(RegisterType.F64, 8), huge) == Decoded(None, "out_of_range")


@given(st.integers(-799_999, 799_999))
def test_signed_dlt645_values_keep_their_sign(value):
    shown = register(RegisterType.DLT645, 3, signed=True)
    assert decode(shown, encode(shown, value)).v == value


@given(st.binary(min_size=4, max_size=4))
def test_any_float_is_the_nearest_count_or_no_value(raw):
    shown = replace(register(RegisterType.F32, 4), resolution=Fraction(1, 100))
    value = struct.unpack(">f", raw)[0]
    seen = decode(shown, raw)
    if not math.isfinite(value):
        assert seen.v is None
        assert seen.quality == "nan"
    elif abs(value) * 100 >= 2**63:
        assert seen == Decoded(None, "out_of_range")
    else:
        assert seen.v is not None
        assert abs(Fraction(value) - seen.v * shown.resolution) <= shown.resolution / 2


def test_a_float_half_way_goes_to_the_even_count():
    shown = register(RegisterType.F32, 4)
    assert decode(shown, struct.pack(">f", 0.5)).v == 0
    assert decode(shown, struct.pack(">f", 1.5)).v == 2


def test_a_decimal_beyond_the_reach_of_doubles_stays_exact():
    shown = register(RegisterType.U64, 8)
    assert decode(shown, (2**62 + 1).to_bytes(8, "big")).v == 2**62 + 1


def test_low_word_first_is_the_swapped_high_word_first():
    shown = register(RegisterType.U32, 4, word_order=WordOrder.LOW_FIRST)
    assert decode(shown, bytes.fromhex("00020001")).v == 0x00010002


def test_a_sentinel_is_no_value():
    shown = register(RegisterType.U32, 4, sentinels=("ffffffff",))
    assert decode(shown, b"\xff" * 4).quality == "sentinel"
    assert encode(shown, None) == b"\xff" * 4


def test_nibbles_that_are_no_digits_are_no_value():
    assert decode(register(RegisterType.BCD, 2), b"\x1a\x00").quality == "not_decimal"


def test_a_weight_finer_than_the_resolution_is_refused_not_rounded():
    weigher = load_profile("mettler_toledo/mt_sics").register("weight")
    assert decode(weigher, b"12.34").v == 1234
    assert decode(weigher, b"12.345").quality == "off_grid"
    assert encode(weigher, 5) == b"0.05"


@pytest.mark.parametrize("value", [10**12, -1])
def test_a_value_the_register_cannot_show_is_refused(value):
    with pytest.raises(InputError):
        encode(register(RegisterType.BCD, 6), value)


def test_a_reply_of_the_wrong_length_is_refused():
    with pytest.raises(InputError, match="6 bytes"):
        decode(BASE, b"\0" * 5)


def test_text_loses_its_padding():
    assert decode_text(register(RegisterType.STRING, 8), b"AB12  \0\0") == "AB12"
