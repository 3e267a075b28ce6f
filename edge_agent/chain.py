"""Cuts readings of a stream into signed envelopes that form a chain (design §3, "Envelope")."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge_agent.outbox import Outgoing
from edge_agent.source import RawReading
from mrv.column import MAX_READINGS, Column
from mrv.envelope import MAX_BYTES, Clock, Envelope, Event, Head, render
from mrv.verification.note import SecretKey, identity, sign

SIGNATURE_ROOM = 400
"""Bytes kept free for the signature line."""


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
        self.stream = stream
        self.cfg = cfg
        self._site = site
        self._key = key
        self._after = after
        self._amounts = amounts
        self._now = now
        self._epoch = epoch or new_epoch()
        self._mono = mono
        self._boot = boot_id() if boot is None else boot
        self._seq = 0
        self._prev = ""

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
        if not readings and not events:
            return []
        outgoing: list[Outgoing] = []
        first = True
        for part in self._portions(readings) if readings else [readings]:
            outgoing += self._cut(part, clock, events if first else (), at, pair)
            first = False
        return outgoing

    def _portions(self, readings: Sequence[RawReading]) -> Iterator[Sequence[RawReading]]:
        for start in range(0, len(readings), MAX_READINGS):
            yield readings[start : start + MAX_READINGS]

    def _cut(
        self,
        readings: Sequence[RawReading],
        clock: Clock,
        events: Sequence[Event],
        at: int | None,
        pair: Callable[[int, int], tuple[int, int]],
    ) -> list[Outgoing]:
        moment, mono = pair(self._now() if at is None else at, self._mono())
        envelope = Envelope(
            site=self._site,
            agent=self._key.name,
            stream=self.stream,
            epoch=self._epoch,
            seq=self._seq,
            prev=self._prev,
            after=self._after if self._seq == 0 else None,
            t=moment,
            mono=mono,
            boot=self._boot,
            clk=clock,
            cfg=self.cfg,
            cols=tuple(self._columns(readings)),
            ev=tuple(events),
        )
        text = render(envelope)
        if len(text) > MAX_BYTES - SIGNATURE_ROOM and len(readings) > 1:
            half = len(readings) // 2
            left = self._cut(readings[:half], clock, events, at, pair)
            return left + self._cut(readings[half:], clock, (), at, pair)
        name = identity(text)
        note = sign(text, self._key)
        sent = Outgoing(self.stream, self._epoch, self._seq, name, note, moment)
        self._prev = name
        self._seq += 1
        return [sent]

    def _columns(self, readings: Sequence[RawReading]) -> Iterator[Column]:
        ordered = sorted(readings, key=lambda r: (r.channel, r.t))
        for channel, group in itertools.groupby(ordered, key=lambda r: r.channel):
            rows = list(group)
            times = [row.t for row in rows]
            steps = [b - a for a, b in itertools.pairwise(times)]
            amount = channel in self._amounts
            yield Column(
                ch=channel,
                t0=times[0],
                dt=[0, *steps],
                v=[row.v for row in rows],
                q=[row.quality for row in rows],
                raw=[row.raw.hex() for row in rows] if any(row.raw for row in rows) else (),
                length=[row.length for row in rows] if amount else (),
                tag=[row.tag or None for row in rows] if amount else (),
            )
