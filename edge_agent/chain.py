"""Cuts readings of a stream into signed envelopes that form a chain (design §3, "Envelope")."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from device_profiles.decode import OUT_OF_RANGE
from edge_agent.outbox import Outgoing
from edge_agent.source import RawReading
from mrv.column import Column, column_of
from mrv.envelope import Clock, Event, Head
from mrv.envelope_chain import EnvelopeChain, Place
from mrv.verification.note import SecretKey


def boot_id() -> str:
    """Id of this boot of the machine (Linux), "" where there is none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def new_epoch() -> str:
    """A random name for one start of the agent, 16 hex digits."""
    return secrets.token_hex(8)


class StreamChain:
    """One stream of an agent from one start on."""

    def __init__(
        self,
        site: str,
        stream: str,
        key: SecretKey,
        cfg: str,
        after: Head | None,
        *,
        amounts: frozenset[str] = frozenset(),
        now: Callable[[], int] = time.time_ns,
        mono: Callable[[], int] = time.monotonic_ns,
        boot: str | None = None,
        epoch: str | None = None,
    ) -> None:
        place = Place(
            site, stream, epoch or new_epoch(), boot_id() if boot is None else boot, cfg, after
        )
        self.stream = stream
        self.cfg = cfg
        self._epoch = place.epoch
        self._amounts = amounts
        self._now = now
        self._mono = mono
        self._chain = EnvelopeChain(place, key, self._columns)

    def cut(
        self,
        readings: Sequence[RawReading],
        clock: Clock,
        events: Sequence[Event] = (),
        at: int | None = None,
        pair: Callable[[int, int], tuple[int, int]] = lambda t, mono: (t, mono),
    ) -> list[Outgoing]:
        """Envelopes holding all `readings` and `events`, in order; as many as the limits ask.

        `pair` is given wall and monotonic time of now and says which to state (see `Spell.pair`).
        """

        def moment() -> tuple[int, int]:
            return pair(self._now() if at is None else at, self._mono())

        return [
            Outgoing(
                self.stream,
                self._epoch,
                cut.envelope.seq,
                cut.identity,
                cut.note,
                cut.envelope.t,
            )
            for cut in self._chain.cut(readings, clock, events, moment)
        ]

    def _columns(self, readings: Sequence[RawReading]) -> list[Column]:
        columns = []
        ordered = sorted(readings, key=lambda r: (r.channel, r.t))
        for channel, group in groupby(ordered, key=lambda r: r.channel):
            rows = [row if row.v is None or _carried(row.v) else _null(row) for row in group]
            amount = channel in self._amounts
            columns.append(
                column_of(
                    channel,
                    [row.t for row in rows],
                    [row.v for row in rows],
                    [row.quality for row in rows],
                    raw=[row.raw.hex() for row in rows] if any(row.raw for row in rows) else (),
                    length=[row.length for row in rows] if amount else (),
                    tag=[row.tag or None for row in rows] if amount else (),
                )
            )
        return columns


def _carried(v: int) -> bool:
    """Whether an envelope can carry a value: 64 bits with sign."""
    return -(2**63) <= v < 2**63


def _null(row: RawReading) -> RawReading:
    """A reading whose value nothing can carry; one such must not spoil its envelope."""
    return replace(row, v=None, quality=OUT_OF_RANGE)
