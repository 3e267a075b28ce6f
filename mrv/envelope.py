"""The envelope: one line of JSON with consecutive readings of one stream (design §3, "Envelope").

The bytes are signed, stored and verified as sent; this module reads and writes the line, the
signature around it is `mrv.verification.note`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mrv.column import MAX_READINGS, Column, read_columns, read_texts, render_column
from mrv.errors import WireError
from mrv.series import SeriesKey
from mrv.strict_json import Record, dumps, loads

WIRE_VERSION = 1
"""The version this module writes and reads."""
MAX_BYTES = 64 * 1024
"""Largest signed note, bytes (design §3; the entry length of tlog-tiles is a uint16)."""
MAX_EVENTS = 1000
"""Most events in one envelope."""
MAX_REASON = 256
"""Characters of the longest reason of an event."""


class ClockState(StrEnum):
    """State of the agent's clock, letters as in OCMF 1.4 table 9 (time status)."""

    UNKNOWN = "U"
    INFORMATIVE = "I"
    SYNCHRONISED = "S"
    RELATIVE = "R"

    @property
    def trusted(self) -> bool:
        """Whether a reading stamped in this state can close a batch."""
        return self in (ClockState.SYNCHRONISED, ClockState.RELATIVE)


CLOCK_LETTERS = frozenset(ClockState)
"""The letters as they are written."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What the agent knew of its clock when it cut the envelope."""

    state: ClockState
    """Letter of OCMF."""
    error_ms: int
    """Bound of the clock's error, ms, ≥ 0."""
    source: str
    """Where the time comes from: ntp, ptp, rtc, file, none."""


@dataclass(frozen=True, slots=True)
class Head:
    """The place of an envelope in its stream."""

    epoch: str
    """Random name of one start of the agent, 16 hex digits."""
    seq: int
    """Number inside the epoch, from 0 without a gap."""
    identity: str
    """SHA-256 of the signed text, hex."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the agent states about itself: start, stop, or a gap with its reason."""

    kind: str
    """start | stop | gap."""
    t: int
    """Moment, ns UTC (of a gap: its start)."""
    end: int | None = None
    """Of a gap: its end, ns UTC."""
    channel: str = ""
    """Channel concerned, "" = the whole stream."""
    reason: str = ""
    """Why, in words or a code."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One signed message of readings."""

    site: str
    """Site the agent is enrolled at."""
    agent: str
    """Name of the agent = name of its key."""
    stream: str
    """Stream inside the agent."""
    epoch: str
    """Random, new at each start of the agent."""
    seq: int
    """0, 1, 2 … inside the epoch."""
    prev: str
    """Identity of the envelope before; "" at seq 0."""
    t: int
    """Moment it was cut, ns UTC."""
    mono: int
    """Monotonic clock when it was cut, ns."""
    boot: str
    """Boot id of the machine."""
    clk: Clock
    """State of the clock."""
    cfg: str
    """Identity of the signed channel table; "" = none."""
    cols: tuple[Column, ...]
    """The readings."""
    after: Head | None = None
    """At seq 0: the last envelope this outbox knows of the stream, None = none."""
    ev: tuple[Event, ...] = ()
    """Start, stop, gap."""
    ocmf: tuple[str, ...] = ()
    """Records signed by the meter itself, verbatim."""

    @property
    def keys(self) -> tuple[SeriesKey, ...]:
        """The channel of each column."""
        return tuple([SeriesKey(self.agent, self.stream, column.ch) for column in self.cols])

    @property
    def readings(self) -> int:
        """Number of readings in all columns."""
        return sum([len(column.v) for column in self.cols])


def _head(record: Record) -> Head:
    head = Head(
        epoch=record.text("epoch", limit=32),
        seq=record.integer("seq"),
        identity=record.text("identity", limit=64),
    )
    record.close()
    return head


def _event(record: Record) -> Event:
    event = Event(
        kind=record.text("kind", limit=16),
        t=record.nanoseconds("t"),
        end=record.optional_nanoseconds("end"),
        channel=record.text("ch", limit=128, default=""),
        reason=record.text("reason", limit=MAX_REASON, default=""),
    )
    if event.kind not in ("start", "stop", "gap"):
        raise record.fault("kind", "start, stop or gap")
    if event.end is not None and event.end < event.t:
        raise record.fault("end", "a time after the start of the gap")
    record.close()
    return event


def _clock(record: Record) -> Clock:
    letter = record.text("state", limit=1)
    if letter not in CLOCK_LETTERS:
        raise record.fault("state", "one of U, I, S, R")
    clock = Clock(ClockState(letter), record.integer("error_ms"), record.text("source", limit=32))
    record.close()
    return clock


def parse(text: bytes) -> Envelope:
    """The envelope in a note's signed text (one line of JSON and its newline).

    Raises WireError naming the member that is not what the contract says.
    """
    if len(text) > MAX_BYTES:
        raise WireError(f"an envelope has at most {MAX_BYTES} bytes, seen {len(text)}")
    if not text.endswith(b"\n") or text.count(b"\n") != 1:
        raise WireError("an envelope is one line of JSON and a newline")
    record = Record(loads(text[:-1], bounded=False))
    if record.integer("v") != WIRE_VERSION:
        raise record.fault("v", f"wire version {WIRE_VERSION}")
    seq = record.integer("seq")
    if ("after" in record) != (seq == 0):
        raise record.fault("after", "a member of seq 0 and of no other envelope")
    after = record.raw("after")
    prev = record.text("prev", limit=64)
    if (prev == "") != (seq == 0):
        raise record.fault("prev", 'the identity of the envelope before ("" at seq 0)')
    envelope = Envelope(
        site=_name(record, "site"),
        agent=_name(record, "agent"),
        stream=_name(record, "stream"),
        epoch=_name(record, "epoch", 32),
        seq=seq,
        prev=prev,
        after=None if after is None else _head(record.record("after")),
        t=record.nanoseconds("t"),
        mono=record.nanoseconds("mono"),
        boot=record.text("boot", limit=64),
        clk=_clock(record.record("clk")),
        cfg=record.text("cfg", limit=64),
        cols=read_columns(record),
        ev=tuple(_event(r) for r in record.records("ev", limit=MAX_EVENTS)),
        ocmf=_meter_records(record),
    )
    if envelope.readings > MAX_READINGS:
        raise record.fault("cols", f"at most {MAX_READINGS} readings")
    record.close()
    return envelope


def _meter_records(record: Record) -> tuple[str, ...]:
    if "ocmf" not in record:
        return ()
    return tuple(read_texts(record, "ocmf", len(record.array("ocmf"))))


def _name(record: Record, name: str, limit: int = 128) -> str:
    value = record.text(name, limit=limit)
    if not value or any(c in value for c in "/+#\n ") or not value.isprintable():
        raise record.fault(name, "a name without space, slash, plus or hash")
    return value


def render(envelope: Envelope) -> bytes:
    """The signed text of an envelope: members in the contract's order, compact, with newline."""
    members: dict[str, object] = {
        "v": WIRE_VERSION,
        "site": envelope.site,
        "agent": envelope.agent,
        "stream": envelope.stream,
        "epoch": envelope.epoch,
        "seq": envelope.seq,
        "prev": envelope.prev,
    }
    if envelope.seq == 0:
        head = envelope.after
        members["after"] = head and {
            "epoch": head.epoch,
            "seq": head.seq,
            "identity": head.identity,
        }
    members |= {
        "t": str(envelope.t),
        "mono": str(envelope.mono),
        "boot": envelope.boot,
        "clk": {
            "state": envelope.clk.state.value,
            "error_ms": envelope.clk.error_ms,
            "source": envelope.clk.source,
        },
        "cfg": envelope.cfg,
        "cols": [render_column(column) for column in envelope.cols],
        "ev": [_render_event(event) for event in envelope.ev],
    }
    if envelope.ocmf:
        members["ocmf"] = list(envelope.ocmf)
    return dumps(members) + b"\n"


def _render_event(event: Event) -> dict[str, object]:
    members: dict[str, object] = {"kind": event.kind, "t": str(event.t)}
    if event.end is not None:
        members["end"] = str(event.end)
    if event.channel:
        members["ch"] = event.channel
    if event.reason:
        members["reason"] = event.reason
    return members
