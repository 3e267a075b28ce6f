"""Bytes of a register to exact integers of its resolution, and back.

Nothing passes through a binary float: an IEEE 754 value is taken apart into the rational it
stands for and rounded half to even to the register's resolution.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from device_profiles.profile import WIDTHS, Register, RegisterType, WordOrder
from mrv.errors import InputError

GOOD = ""
SENTINEL = "sentinel"
NOT_A_NUMBER = "nan"
NOT_DECIMAL = "not_decimal"
OFF_GRID = "off_grid"
OUT_OF_RANGE = "out_of_range"


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a register showed."""

    v: int | None
    """Counts of the register's resolution, None where it shows no value."""
    quality: str
    """"" good, else why there is no value: sentinel, nan, not_decimal, off_grid, out_of_range."""


_UNSIGNED = (RegisterType.U16, RegisterType.U32, RegisterType.U64)
_SIGNED = (RegisterType.I16, RegisterType.I32, RegisterType.I64)
_MAX_EXPONENT = 40
"""A weight shown in text stays within 10^±40, so that a short text is no giant number."""
_FLOATS = {RegisterType.F32: ">f", RegisterType.F64: ">d"}


def _swap_words(raw: bytes) -> bytes:
    words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
    return b"".join(reversed(words))


def _ordered(register: Register, raw: bytes) -> bytes:
    return _swap_words(raw) if register.word_order is WordOrder.LOW_FIRST else raw


def _digits(packed: bytes) -> int | None:
    text = packed.hex()
    return int(text) if text.isascii() and text.isdigit() else None


def _dlt645_number(register: Register, raw: bytes) -> int | None:
    packed = bytearray(reversed(raw))
    negative = register.signed and bool(packed[0] & 0x80)
    if register.signed:
        packed[0] &= 0x7F
    number = _digits(bytes(packed))
    if number is None:
        return None
    return -number if negative else number


def _counts(register: Register, raw: Fraction, *, rounded: bool) -> Decoded:
    counts = raw * register.scale / register.resolution
    if counts.denominator != 1 and not rounded:
        return Decoded(None, OFF_GRID)
    whole = round(counts)
    if not -(2**63) <= whole < 2**63:  # no envelope carries it, and no counter shows it
        return Decoded(None, OUT_OF_RANGE)
    return Decoded(whole, GOOD)


def decode(register: Register, raw: bytes) -> Decoded:
    """The counts in `raw`, the bytes as they came. Raises InputError where the length is wrong.

    Floats are rounded half to even to the resolution; integers and decimals must lie on it.
    """
    if register.size and len(raw) != register.size:
        raise InputError(
            f"register {register.name} has {register.size} bytes, seen {len(raw)}",
            field=register.name,
            hint="check address, type and word count in the profile",
        )
    if raw.hex() in register.sentinels:
        return Decoded(None, SENTINEL)
    kind = register.type
    if kind in _UNSIGNED or kind in _SIGNED:
        integer = int.from_bytes(_ordered(register, raw), "big", signed=kind in _SIGNED)
        return _counts(register, Fraction(integer), rounded=False)
    if kind in _FLOATS:
        value = struct.unpack(_FLOATS[kind], _ordered(register, raw))[0]
        if not math.isfinite(value):
            return Decoded(None, NOT_A_NUMBER)
        return _counts(register, Fraction(value), rounded=True)
    if kind is RegisterType.BCD:
        number = _digits(_ordered(register, raw))
    elif kind is RegisterType.DLT645:
        number = _dlt645_number(register, raw)
    elif kind is RegisterType.ASCII:
        return _decimal(register, raw)
    else:
        raise InputError(
            f"register {register.name} is text, not a number",
            field=register.name,
            hint="read it with decode_text",
        )
    if number is None:
        return Decoded(None, NOT_DECIMAL)
    return _counts(register, Fraction(number), rounded=False)


def _decimal(register: Register, raw: bytes) -> Decoded:
    try:
        value = Decimal(raw.decode("ascii").strip())
    except (UnicodeDecodeError, InvalidOperation):
        return Decoded(None, NOT_DECIMAL)
    if value.is_finite() and not -_MAX_EXPONENT <= value.adjusted() <= _MAX_EXPONENT:
        return Decoded(None, NOT_DECIMAL)
    if not value.is_finite():
        return Decoded(None, NOT_A_NUMBER)
    return _counts(register, Fraction(value), rounded=False)


def decode_text(register: Register, raw: bytes) -> str:
    """The identity a register shows: text without padding, or the digits of a number."""
    if register.type is RegisterType.STRING:
        return raw.decode("latin-1").strip(" \0\xff")
    if register.type is RegisterType.DLT645:
        return bytes(reversed(raw)).hex()
    if register.type is RegisterType.ASCII:
        return raw.decode("latin-1").strip().strip('"')
    decoded = decode(register, raw)
    return "" if decoded.v is None else str(decoded.v)


def encode(register: Register, counts: int | None) -> bytes:
    """The bytes the device would send for `counts`; None = its sentinel, else NaN.

    Raises InputError where the register cannot show the value.
    """
    if counts is None:
        if register.sentinels:
            return bytes.fromhex(register.sentinels[0])
        if register.type in _FLOATS:
            return _ordered(register, struct.pack(_FLOATS[register.type], math.nan))
        raise _unfit(register, counts)
    raw = counts * register.resolution / register.scale
    kind = register.type
    if kind in _FLOATS:
        return _ordered(register, struct.pack(_FLOATS[kind], float(raw)))
    if kind is RegisterType.ASCII:
        return _decimal_text(counts, register.resolution).encode("ascii")
    if raw.denominator != 1:
        raise _unfit(register, counts)
    integer = int(raw)
    try:
        if kind in WIDTHS:
            packed = integer.to_bytes(WIDTHS[kind], "big", signed=kind in _SIGNED)
            return _ordered(register, packed)
        packed = bytes.fromhex(f"{abs(integer):0{2 * register.size}d}")
    except (OverflowError, ValueError) as error:
        raise _unfit(register, counts) from error
    top_free = not register.signed or packed[0] < 0x80
    if len(packed) != register.size or not top_free or (integer < 0 and not register.signed):
        raise _unfit(register, counts)
    if kind is RegisterType.BCD:
        return _ordered(register, packed)
    if integer < 0:
        packed = bytes([packed[0] | 0x80]) + packed[1:]
    return bytes(reversed(packed))


def _decimal_text(counts: int, resolution: Fraction) -> str:
    places = 0
    while (resolution * 10**places).denominator != 1:
        places += 1
        if places > 12:
            raise InputError(f"resolution {resolution} is no decimal fraction")
    return f"{Decimal(int(counts * resolution * 10**places)).scaleb(-places):.{places}f}"


def _unfit(register: Register, counts: int | None) -> InputError:
    return InputError(
        f"register {register.name} ({register.type}, {register.size} bytes) cannot show {counts}",
        field=register.name,
        hint="keep counters below the modulus and declare a sentinel for missing values",
    )
