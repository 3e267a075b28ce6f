"""The signed channel table: what the integers of an agent's channels mean (design §3, `cfg`).

An agent publishes the table as a signed note (topic `birth`), the journal keeps it, and an
envelope names it by its identity, so that no reading can change its meaning afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from mrv.errors import WireError
from mrv.quantity import exact_number
from mrv.strict_json import Record, dumps, loads

TABLE_VERSION = 1
"""The version this module writes and reads."""
MAX_CHANNELS = 10_000
"""Most channels of one table."""
MAX_TABLE_BYTES = 1_000_000
"""Largest signed table, bytes, which is what Go's `sumdb/note` opens: some 3,000 channels."""


class ChannelKind(StrEnum):
    """How a channel's integers add up."""

    COUNTER = "counter"
    AMOUNT = "amount"
    GAUGE = "gauge"


class AssuranceTier(StrEnum):
    """Who stands behind a reading (design §3, "Foreign sources")."""

    METER_SIGNED = "A"
    AGENT_SIGNED = "B"
    AUTHENTICATED = "C"
    MAPPED = "D"

    @property
    def has_chain(self) -> bool:
        """Whether completeness can be proven from a chain that starts at the instrument."""
        return self in (AssuranceTier.METER_SIGNED, AssuranceTier.AGENT_SIGNED)


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of an agent."""

    name: str
    """`<instrument>.<register>`, unique in the agent."""
    kind: ChannelKind
    """counter, amount or gauge."""
    instrument: str
    """Instrument id of the plant."""
    serial: str
    """Serial number the agent expects or has read."""
    register: str
    """Register id of the profile."""
    resolution: Fraction
    """Value of one count, in `unit`, > 0."""
    unit: str
    """Unit of the value."""
    ratio: Fraction
    """Transformer ratio the agent was told, > 0 (1 = none); never applied by the agent."""
    profile: str
    """Content hash of the device profile, hex; "" = none (replay)."""
    tier: AssuranceTier
    """Assurance tier of the source."""
    modulus: int = 0
    """Counts at which the register rolls over, 0 = never."""
    stream: str = ""
    """Stream its readings travel in; "" = not stated, so that only an envelope tells."""


@dataclass(frozen=True, slots=True)
class ChannelTable:
    """All channels of one agent, as signed."""

    site: str
    """Site."""
    agent: str
    """Agent whose key signs the table."""
    channels: tuple[Channel, ...]
    """The channels, sorted by name."""

    def channel(self, name: str) -> Channel | None:
        """The channel of that name, None where the table has none."""
        return next((c for c in self.channels if c.name == name), None)

    def in_streams(self, streams: Mapping[str, str]) -> ChannelTable:
        """The same table with the stream of each channel in it, by name of the channel."""
        channels = tuple(replace(c, stream=streams.get(c.name, "")) for c in self.channels)
        return replace(self, channels=channels)


def render_table(table: ChannelTable) -> bytes:
    """The signed text of a table: one line of JSON and a newline."""
    return (
        dumps(
            {
                "v": TABLE_VERSION,
                "site": table.site,
                "agent": table.agent,
                "channels": [
                    {
                        "ch": c.name,
                        "kind": c.kind.value,
                        "instrument": c.instrument,
                        "serial": c.serial,
                        "register": c.register,
                        "resolution": str(c.resolution),
                        "unit": c.unit,
                        "ratio": str(c.ratio),
                        "profile": c.profile,
                        "tier": c.tier.value,
                        "modulus": str(c.modulus),
                        **({"stream": c.stream} if c.stream else {}),
                    }
                    for c in sorted(table.channels, key=lambda c: c.name)
                ],
            }
        )
        + b"\n"
    )


_KINDS = {kind.value: kind for kind in ChannelKind}
_TIERS = {tier.value: tier for tier in AssuranceTier}


def _rational(record: Record, name: str) -> Fraction:
    text = record.text(name, limit=64)
    try:
        value = exact_number(text)
    except ValueError as error:
        raise record.fault(name, "a rational number such as 1/100") from error
    if value <= 0:
        raise record.fault(name, "a positive rational number")
    return value


def _channel(record: Record) -> Channel:
    kind, tier = _KINDS.get(record.text("kind")), _TIERS.get(record.text("tier"))
    if kind is None:
        raise record.fault("kind", "counter, amount or gauge")
    if tier is None:
        raise record.fault("tier", "A, B, C or D")
    channel = Channel(
        name=record.text("ch", limit=128),
        kind=kind,
        instrument=record.text("instrument", limit=128),
        serial=record.text("serial", limit=128),
        register=record.text("register", limit=128),
        resolution=_rational(record, "resolution"),
        unit=record.text("unit", limit=32),
        ratio=_rational(record, "ratio"),
        profile=record.text("profile", limit=64),
        tier=tier,
        modulus=record.nanoseconds("modulus"),
        stream=record.text("stream", limit=128, default=""),
    )
    record.close()
    return channel


def parse_table(text: bytes) -> ChannelTable:
    """The channel table in a note's signed text. Raises WireError naming the member."""
    if len(text) > MAX_TABLE_BYTES:
        raise WireError(f"a channel table has at most {MAX_TABLE_BYTES} bytes, seen {len(text)}")
    if not text.endswith(b"\n") or text.count(b"\n") != 1:
        raise WireError("a channel table is one line of JSON and a newline")
    record = Record(loads(text[:-1]))
    if record.integer("v") != TABLE_VERSION:
        raise record.fault("v", f"table version {TABLE_VERSION}")
    table = ChannelTable(
        site=record.text("site", limit=128),
        agent=record.text("agent", limit=128),
        channels=tuple(_channel(r) for r in record.records("channels", limit=MAX_CHANNELS)),
    )
    record.close()
    names = [c.name for c in table.channels]
    if len(set(names)) != len(names):
        raise record.fault("channels", "channels of different names")
    return table
