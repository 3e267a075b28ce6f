"""Envelopes read as `mrv.envelope.parse` reads them, the plain ones in less than half the time.

A plain envelope is one as nearly all are, from seq 1 on, without failed reads, flags, amounts or
events. It is decoded into typed structs and written again: where the bytes come out as they went
in, no member stands twice, no number is written otherwise and no unknown member is there, since
none of these is ever written. Whatever is not plain, wrong ones with it, is left to `parse`, so
that an error says the same whoever has read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from mrv.column import MAX_READINGS, Column
from mrv.envelope import (
    CLOCK_LETTERS,
    MAX_BYTES,
    WIRE_VERSION,
    Clock,
    ClockState,
    Envelope,
    parse,
)
from mrv.strict_json import MAX_SAFE_INTEGER

END_OF_TIME: Final = 2**63
"""No time reaches it, ns."""
STREAMS: Final = 8192
"""Streams whose names are remembered as names, some half a kilobyte each."""
NOT_IN_A_NAME: Final = frozenset("/+#\n ")
"""What no site, agent, stream or epoch has in its name."""

Count = Annotated[int, Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
Natural = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]


class _Clock(Struct):
    """Member `clk`."""

    state: str
    error_ms: Natural
    source: str


class _Column(Struct, gc=False):
    """A column without raw words, lengths or tags."""

    ch: Annotated[str, Meta(max_length=128)]
    t0: str
    dt: list[Natural]
    v: list[Count]
    q: list[str]


class _Plain(Struct):
    """An envelope without `after` and `ocmf`; members in the order of the contract."""

    v: int
    site: str
    agent: str
    stream: str
    epoch: str
    seq: Natural
    prev: Annotated[str, Meta(max_length=64)]
    t: str
    mono: str
    boot: str
    clk: _Clock
    cfg: str
    cols: list[_Column]
    ev: Annotated[list[None], Meta(max_length=0)]


_DECODE: Final = msgspec.json.Decoder(_Plain).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def read_envelope(text: bytes) -> Envelope:
    """The envelope in a note's signed text, as `parse` reads it. Raises WireError as it does."""
    return _plain(text) or parse(text)


def _plain(text: bytes) -> Envelope | None:
    """The envelope where it is plain; what is accepted here `parse` accepts as the same."""
    if len(text) > MAX_BYTES:
        return None
    try:
        seen = _DECODE(text)
        if _ENCODE(seen) + b"\n" != text:
            return None
        cols, t, mono = _columns(seen.cols), _nanoseconds(seen.t), _nanoseconds(seen.mono)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    clk = seen.clk
    clock = _clock(clk.state, clk.error_ms, clk.source)
    named = _named(seen.site, seen.agent, seen.stream, seen.epoch, seen.boot, seen.cfg)
    if cols is None or t is None or mono is None or clock is None or not named:
        return None
    if seen.v != WIRE_VERSION or not seen.seq or not seen.prev or not seen.prev.isprintable():
        return None
    return Envelope(
        seen.site,
        seen.agent,
        seen.stream,
        seen.epoch,
        seen.seq,
        seen.prev,
        t,
        mono,
        seen.boot,
        clock,
        seen.cfg,
        cols,
    )


def _nanoseconds(digits: str) -> int | None:
    """A time as it is written; ValueError or None where it is not."""
    moment = int(digits)
    return moment if 0 <= moment < END_OF_TIME and str(moment) == digits else None


def _columns(rows: list[_Column]) -> tuple[Column, ...] | None:
    columns, readings = [], 0
    for row in rows:
        steps, shown, digits = row.dt, row.v, row.t0
        size = len(shown)
        if not size or len(steps) != size or len(row.q) != size or row.q.count("") != size:
            return None
        start = int(digits)
        if start < 0 or start + sum(steps) >= END_OF_TIME or str(start) != digits:
            return None
        if not row.ch.isprintable():
            return None
        readings += size
        columns.append(Column(row.ch, start, steps, shown, row.q))
    return tuple(columns) if readings <= MAX_READINGS and len(rows) <= MAX_READINGS else None


@lru_cache(maxsize=256)
def _clock(state: str, error_ms: int, source: str) -> Clock | None:
    if state not in CLOCK_LETTERS or len(source) > 32 or not source.isprintable():
        return None
    return Clock(ClockState(state), error_ms, source)


@lru_cache(maxsize=STREAMS)
def _named(site: str, agent: str, stream: str, epoch: str, boot: str, cfg: str) -> bool:
    """Whether the names of a stream are names: the same ones come again and again."""
    names = (site, agent, stream, epoch)
    return (
        all(0 < len(name) <= 128 and name.isprintable() for name in names)
        and not any(set(name) & NOT_IN_A_NAME for name in names)
        and len(epoch) <= 32
        and len(boot) <= 64
        and len(cfg) <= 64
        and boot.isprintable()
        and cfg.isprintable()
    )
