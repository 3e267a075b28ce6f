"""What a device profile says once it has been read: frozen, resolved, hashable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from mrv.channel import ChannelKind
from mrv.errors import InputError


class Protocol(StrEnum):
    """How the device is spoken to."""

    MODBUS = "modbus"
    DLT645 = "dlt645"
    MTSICS = "mtsics"


class RegisterType(StrEnum):
    """How a value lies in its bytes. Bytes inside a Modbus word are always high byte first."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"
    BCD = "bcd"
    """Packed decimal digits, highest first."""
    STRING = "string"
    DLT645 = "dlt645"
    """Packed decimal digits, lowest byte first; the top bit is the sign where `signed`."""
    ASCII = "ascii"
    """A decimal number as text, such as a weigher's reply."""


class WordOrder(StrEnum):
    """Which 16-bit word of a longer value comes first."""

    HIGH_FIRST = "high_first"
    LOW_FIRST = "low_first"


class Side(StrEnum):
    """The side of the instrument transformers a value stands for."""

    PRIMARY = "primary"
    """The transformer ratio is already in the value."""
    SECONDARY = "secondary"
    """The value must be multiplied by the transformer ratio."""


WIDTHS = {
    RegisterType.U16: 2,
    RegisterType.I16: 2,
    RegisterType.U32: 4,
    RegisterType.I32: 4,
    RegisterType.U64: 8,
    RegisterType.I64: 8,
    RegisterType.F32: 4,
    RegisterType.F64: 8,
}
"""Bytes of the types whose width is fixed."""


@dataclass(frozen=True, slots=True)
class Register:
    """One value a device shows."""

    name: str
    """Register id, unique in the profile."""
    title_zh: str
    """What it is, in Chinese."""
    title_en: str
    """What it is, in English."""
    kind: ChannelKind
    """counter, gauge or amount."""
    type: RegisterType
    """Encoding."""
    fc: int
    """Modbus function code 3 or 4; 0 for other protocols."""
    addr: int
    """Modbus PDU address from 0, or the DL/T 645 data identifier; 0 for MT-SICS."""
    size: int
    """Bytes of the value; 0 = as long as the reply (ascii)."""
    command: str
    """MT-SICS command, "" for other protocols."""
    word_order: WordOrder
    """Order of the 16-bit words."""
    signed: bool
    """DL/T 645 only: the top bit of the value is its sign."""
    scale: Fraction
    """Value in `unit` of one raw count (of 1.0 for floats and text), > 0."""
    unit: str
    """Unit of the value."""
    resolution: Fraction
    """Value in `unit` of one count as the agent reports it, > 0."""
    modulus: int
    """Counts at which a counter starts again at 0; 0 = never (gauges and amounts)."""
    sentinels: tuple[str, ...]
    """Raw bytes, hex as they come, that mean "no value"."""
    side: Side
    """Transformer side."""

    @property
    def words(self) -> int:
        """Modbus words of the value."""
        return self.size // 2


@dataclass(frozen=True, slots=True)
class Probe:
    """How to make sure the right device answers."""

    register: str
    """Register that carries its serial number or model, "" = none is documented."""
    expect: str
    """Text or number its answer must match; "" = any answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the device can bear."""

    max_words: int
    """Words a Modbus request may ask for, 1–125."""
    max_gap: int
    """Unused words a block may read over, 0–124."""
    timeout_ms: int
    """Time after which an answer is given up, ms."""
    turnaround_ms: int
    """Silence between two requests on a serial bus, ms."""


@dataclass(frozen=True, slots=True)
class Metrology:
    """What the type promises about its error."""

    accuracy_class: str
    """Class as the type label says it; "" = not stated by the source."""
    standard: str
    """Standard the class belongs to."""


@dataclass(frozen=True, slots=True)
class Document:
    """Where the register facts come from."""

    document: str
    """Title of the document or code base."""
    page: str
    """Page, table or file in it."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A frame and the values it must decode to."""

    origin: str
    """`vendor_sample`, `published_sample` (somebody's recorded frame) or `constructed`."""
    note: str
    """Where it was published, or how it was built."""
    fc: int
    """Modbus: function code of the block; else 0."""
    addr: int
    """Modbus: PDU address of its first word; else 0."""
    frame: str
    """Modbus: register bytes, hex. DL/T 645: whole frame, hex. MT-SICS: the reply's text."""
    expect: tuple[tuple[str, int | None], ...]
    """(register, counts) in the order of the profile; None = the device shows no value."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One device type."""

    id: str
    """`maker/model`, the path of its file."""
    maker: str
    """Who builds it."""
    model: str
    """Type designation."""
    title_zh: str
    """What it is, in Chinese."""
    title_en: str
    """What it is, in English."""
    protocol: Protocol
    """How it is spoken to."""
    probe: Probe
    """How it is recognised."""
    limits: Limits
    """What it can bear."""
    registers: tuple[Register, ...]
    """Its registers, in the order of the file."""
    metrology: Metrology
    """What its type promises."""
    source: tuple[Document, ...]
    """Where the facts come from, at least one."""
    golden: tuple[Golden, ...]
    """Frames its decoding is tested with."""
    caveats: tuple[str, ...]
    """Where sources disagree or a fact is not confirmed."""

    def register(self, name: str) -> Register:
        """The register of that name. Raises InputError that lists the names there are."""
        for register in self.registers:
            if register.name == name:
                return register
        known = ", ".join(r.name for r in self.registers)
        raise InputError(f"profile {self.id} has no register {name!r}", hint=f"it has: {known}")

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical resolved profile, hex: the identity a channel table names."""
        return hashlib.sha256(canonical(self)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def as_plain(profile: Profile) -> dict[str, Any]:
    """The profile as JSON values; rationals as text."""
    plain = _plain(asdict(profile))
    assert isinstance(plain, dict)
    return plain


def canonical(profile: Profile) -> bytes:
    """One line of JSON, keys sorted, ASCII, nothing optional left out."""
    return json.dumps(as_plain(profile), sort_keys=True, separators=(",", ":")).encode("ascii")
