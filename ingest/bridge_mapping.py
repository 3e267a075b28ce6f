"""How JSON messages of foreign devices map to the registers of a plant.

A topic pattern says whose message it is, JSON pointers (RFC 6901) say where value, time, unit and
quality stand. Kind, unit and resolution of a register are the plant's; scale and the unit of the
foreign number make an exact rational, so no value ever passes through a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from footprint.plant import Instrument, PlantModel, Register
from mrv.channel import AssuranceTier, Channel, ChannelKind
from mrv.errors import MeterprintError
from mrv.quantity import unit

TIME_FORMATS = {"unix_s": 9, "unix_ms": 6, "unix_us": 3, "unix_ns": 0}
"""Decimal digits by which a number is shifted to make it ns."""
ISO = "iso8601"
DEVICE = "{device}"
"""Level of a topic pattern that names the device."""

Pointer = tuple[str, ...]
"""Reference tokens of a JSON pointer; none = the whole document."""


@dataclass(frozen=True, slots=True)
class TimePlace:
    """Where a message says when it was read."""

    pointer: Pointer | None
    """Where the time stands; None = the moment of receipt counts."""
    format: str
    """iso8601 or one of TIME_FORMATS."""
    offset_s: int | None
    """Offset from UTC of an iso8601 time that states none, s; None = such a time is refused."""
    behind: int
    """Times further back than this are refused, ns."""
    ahead: int
    """Times further ahead than this are refused, ns."""


@dataclass(frozen=True, slots=True)
class MappedValue:
    """One number of a message and the register it shows."""

    pointer: Pointer
    """Where the number stands."""
    register: str
    """Register id."""
    unit: str
    """Unit the number is in."""
    scale: Fraction
    """The number is multiplied by this first, > 0."""
    unit_pointer: Pointer | None
    """Where the message states the unit, None = nowhere."""
    as_text: bool
    """Whether the number is written as a JSON string."""
    rounds: bool
    """Whether digits beyond the resolution are rounded half-even (and flagged) or refused."""
    length: int
    """Amounts: length of the interval, ns; 0 = a moment."""
    stamped_end: bool
    """Amounts: whether the time is the end of the interval."""
    tag_pointer: Pointer | None
    """Amounts: where the batch it was weighed for stands, None = nowhere."""


@dataclass(frozen=True, slots=True)
class MappedMessage:
    """One pattern of topics and what its messages hold."""

    topic: str
    """MQTT filter with at most one level `{device}`."""
    device_pointer: Pointer | None
    """Where the message names its device, None = the topic does."""
    instruments: Mapping[str, str]
    """Device → instrument id; empty = a device is called as its instrument."""
    only: str
    """Instrument of all messages of this pattern, "" = each by its device."""
    time: TimePlace
    """When it was read."""
    values: tuple[MappedValue, ...]
    """Its numbers."""
    quality_pointer: Pointer | None
    """Where the message states whether its values are good, None = nowhere."""
    good: tuple[str, ...]
    """Texts of that place that mean good."""

    @property
    def filter(self) -> str:
        """The MQTT filter to subscribe to."""
        return self.topic.replace(DEVICE, "+")


@dataclass(frozen=True, slots=True)
class BridgeMapping:
    """One bridge: a broker, an agent's name to sign under, and its messages."""

    agent: str
    """Agent under whose key the bridge signs."""
    stream: str
    """Its one stream."""
    host: str
    """Host of the foreign broker, "" = the site's own."""
    port: int
    """Its port."""
    username: str
    """User there, "" = none."""
    password_env: str
    """Environment variable with the password, "" = none."""
    ca: str
    """File of the authority of its certificate, beside the mapping; "" = no TLS."""
    flush: int
    """Longest time a reading waits for company in an envelope, ns."""
    messages: tuple[MappedMessage, ...]
    """Its messages."""
    digest: str
    """SHA-256 of the mapping as it was written, hex: the `profile` of its channels."""

    def channels(self, plant: PlantModel) -> tuple[Channel, ...]:
        """The rows of the bridge's channel table, sorted by name."""
        found: dict[str, Channel] = {}
        for message in self.messages:
            for instrument in instruments_of(message, plant):
                for value in message.values:
                    register = instrument.register(value.register)
                    if register is not None:
                        channel = _channel(instrument, register, self.digest)
                        found[channel.name] = channel
        return tuple(found[name] for name in sorted(found))


def _channel(instrument: Instrument, register: Register, digest: str) -> Channel:
    return Channel(
        name=f"{instrument.id}.{register.id}",
        kind=ChannelKind(register.kind),
        instrument=instrument.id,
        serial=instrument.serial,
        register=register.id,
        resolution=register.resolution,
        unit=register.unit,
        ratio=instrument.ratio,
        profile=digest,
        tier=AssuranceTier.MAPPED,
        modulus=register.modulus,
    )


def instruments_of(message: MappedMessage, plant: PlantModel) -> list[Instrument]:
    """Instruments a pattern can speak of; without a table all that have its registers."""
    if message.only or message.instruments:
        names = [message.only] if message.only else sorted(set(message.instruments.values()))
        return [found for name in names if (found := plant.instrument(name)) is not None]
    wanted = [value.register for value in message.values]
    return [
        instrument
        for instrument in plant.instruments
        if all(instrument.register(name) for name in wanted)
        and all(converts(value, instrument) for value in message.values)
    ]


def converts(value: MappedValue, instrument: Instrument) -> bool:
    """Whether the value's unit converts into that of the instrument's register."""
    register = instrument.register(value.register)
    try:
        return register is None or unit(register.unit).kind == unit(value.unit).kind
    except MeterprintError:
        return True  # a unit nobody knows is a fault of its own
