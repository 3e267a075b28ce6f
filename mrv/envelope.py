"""The envelope: one line of JSON with consecutive readings of one stream (design §3, "Envelope").

The bytes are signed, stored and verified as sent; this module reads and writes the line, the
signature around it is `mrv.verification.note`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

from mrv.errors import WireError
from mrv.strict_json import MAX_SAFE_INTEGER, Record, dumps, is_plain, loads

WIRE_VERSION = 1
"""The version this module writes and reads."""
MAX_BYTES = 64 * 1024
"""Largest signed note, bytes (design §3; the entry length of tlog-tiles is a uint16)."""
MAX_READINGS = 1000
"""Most readings in one envelope."""


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
class Column:
    """Readings of one channel. `dt`, `v` and `q` have the same length, ≥ 1."""

    ch: str
    """Channel `<instrument>.<register>`."""
    t0: int
    """Time of the first reading less its `dt`, ns UTC."""
    dt: Sequence[int]
    """Time since the reading before, ns ≥ 0."""
    v: Sequence[int | None]
    """Integers the register shows, in units of its resolution; None = failed read."""
    q: Sequence[str]
    """Quality flag, "" = good."""
    raw: Sequence[str] = field(default=())
    """Raw register words, hex; empty where not kept."""
    length: Sequence[int] = field(default=())
    """Amount channels: length of the interval, ns; empty for others."""
    tag: Sequence[str | None] = field(default=())
    """Amount channels: batch it was weighed for, None = none; empty for others."""


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
    def readings(self) -> int:
        """Number of readings in all columns."""
        return sum(len(column.v) for column in self.cols)


def _ints(record: Record, name: str, size: int, low: int) -> list[int]:
    values = record.array(name, limit=MAX_READINGS)
    if len(values) != size:
        raise record.fault(name, f"an array of {size} elements, one for each reading,")
    if set(map(type, values)) - {int} or not low <= min(values) <= max(values) <= MAX_SAFE_INTEGER:
        raise record.fault(name, f"an array of integers from {low}")
    return values


def _value(record: Record, value: object) -> int | None:
    if value is None or (type(value) is int and abs(value) <= MAX_SAFE_INTEGER):
        return value
    if isinstance(value, str) and 16 <= len(value) <= 20 and value.lstrip("-").isascii():
        digits = value.removeprefix("-")
        if digits.isdigit() and digits[0] != "0" and -(2**63) <= int(value) < 2**63:
            number = int(value)
            if abs(number) > MAX_SAFE_INTEGER:
                return number
    raise record.fault("v", "an array of integers (as strings beyond ±(2^53−1)) or null")


def _column(record: Record) -> Column:
    raw_values = record.array("v", limit=MAX_READINGS)
    size = len(raw_values)
    if not size:
        raise record.fault("v", "at least one reading")
    values: list[int | None] = raw_values
    plain = set(map(type, raw_values)) == {int}
    if not (plain and -MAX_SAFE_INTEGER <= min(raw_values) <= max(raw_values) <= MAX_SAFE_INTEGER):
        values = [_value(record, v) for v in raw_values]
    flags = record.array("q", limit=MAX_READINGS)
    if len(flags) != size or not (flags.count("") == size or all(map(_is_flag, flags))):
        raise record.fault("q", f"{size} quality flags, each a short string,")
    column = Column(
        ch=record.text("ch", limit=128),
        t0=record.nanoseconds("t0"),
        dt=_ints(record, "dt", size, 0),
        v=values,
        q=flags,
        raw=_texts(record, "raw", size) if "raw" in record else (),
        length=_ints(record, "len", size, 0) if "len" in record else (),
        tag=_tags(record, size) if "tag" in record else (),
    )
    if column.t0 + sum(column.dt) >= 2**63:
        raise record.fault("dt", "times below 2^63 ns")
    record.close()
    return column


_COMMON = {"ch", "t0", "dt", "v", "q"}
"""Members of a column without raw words, lengths or tags."""
_INTEGERS = {int}


def _common_column(row: object) -> Column | None:
    """The column where it is as nearly all are; None where it takes a closer look.

    What is accepted here is accepted by `_column` too, as the same column; four fifths of the time
    of reading an envelope went into looking at members one by one.
    """
    if not isinstance(row, dict) or row.keys() != _COMMON:
        return None
    ch, t0, steps, shown, flags = row["ch"], row["t0"], row["dt"], row["v"], row["q"]
    if type(ch) is not str or len(ch) > 128 or not ch.isprintable():
        return None
    if type(t0) is not str or not t0.isascii() or not t0.isdigit() or t0[0] == "0":
        return None
    if not type(steps) is type(shown) is type(flags) is list:
        return None
    size = len(shown)
    if not 0 < size <= MAX_READINGS or len(t0) > 19 or not len(steps) == len(flags) == size:
        return None
    if set(map(type, steps)) != _INTEGERS or set(map(type, shown)) != _INTEGERS:
        return None
    if min(steps) < 0 or max(steps) > MAX_SAFE_INTEGER or flags.count("") != size:
        return None
    start = int(t0)
    if max(shown) > MAX_SAFE_INTEGER or min(shown) < -MAX_SAFE_INTEGER:
        return None
    return Column(ch, start, steps, shown, flags) if start + sum(steps) < 2**63 else None


def _columns(record: Record) -> tuple[Column, ...]:
    rows = record.array("cols", limit=MAX_READINGS)
    return tuple(
        _common_column(row) or _column(Record(row, f"cols[{place}]"))
        for place, row in enumerate(rows)
    )


def _is_flag(flag: object) -> bool:
    return isinstance(flag, str) and len(flag) <= 32 and is_plain(flag)


def _texts(record: Record, name: str, size: int) -> list[str]:
    values = record.array(name, limit=MAX_READINGS)
    if len(values) != size or not all(isinstance(v, str) for v in values):
        raise record.fault(name, f"{size} strings")
    return values


def _tags(record: Record, size: int) -> list[str | None]:
    values = record.array("tag", limit=MAX_READINGS)
    if len(values) != size or not all(
        v is None or (isinstance(v, str) and 0 < len(v) <= 128 and is_plain(v)) for v in values
    ):
        raise record.fault("tag", f"{size} batch names or null")
    return values


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
        reason=record.text("reason", default=""),
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
        cols=_columns(record),
        ev=tuple(_event(r) for r in record.records("ev", limit=MAX_READINGS)),
        ocmf=tuple(_texts(record, "ocmf", len(record.array("ocmf")))) if "ocmf" in record else (),
    )
    if envelope.readings > MAX_READINGS:
        raise record.fault("cols", f"at most {MAX_READINGS} readings")
    record.close()
    return envelope


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
        "cols": [_render_column(column) for column in envelope.cols],
        "ev": [_render_event(event) for event in envelope.ev],
    }
    if envelope.ocmf:
        members["ocmf"] = list(envelope.ocmf)
    return dumps(members) + b"\n"


def _render_column(column: Column) -> dict[str, object]:
    members: dict[str, object] = {
        "ch": column.ch,
        "t0": str(column.t0),
        "dt": list(column.dt),
        "v": [v if v is None or abs(v) <= MAX_SAFE_INTEGER else str(v) for v in column.v],
        "q": list(column.q),
    }
    if column.raw:
        members["raw"] = list(column.raw)
    if column.length:
        members["len"] = list(column.length)
    if column.tag:
        members["tag"] = list(column.tag)
    return members


def _render_event(event: Event) -> dict[str, object]:
    members: dict[str, object] = {"kind": event.kind, "t": str(event.t)}
    if event.end is not None:
        members["end"] = str(event.end)
    if event.channel:
        members["ch"] = event.channel
    if event.reason:
        members["reason"] = event.reason
    return members


def column_times(column: Column) -> list[int]:
    """Times of the readings of a column, ns UTC."""
    return list(accumulate(column.dt, initial=column.t0))[1:]


def column_bounds(column: Column) -> tuple[int, int]:
    """Times of the first and last reading of a column, ns UTC."""
    return column.t0 + column.dt[0], column.t0 + sum(column.dt)
