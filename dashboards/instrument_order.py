"""Instruments with the state of their certificates, those without support first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from footprint.knowledge import Knowledge
from footprint.plant import Instrument


@dataclass(frozen=True, slots=True)
class Supported:
    """An instrument and the certificate that speaks for it."""

    instrument: Instrument
    """The instrument."""
    certificate: str
    """Certificate in force, else the latest one; "" = none."""
    state: str
    """valid, expired, missing …"""
    due: int | None
    """When the certificate ends, ns UTC."""


@dataclass(frozen=True, slots=True)
class InstrumentOrder:
    """All instruments of a plant at one moment; it holds until a certificate begins or ends."""

    rows: Sequence[Supported]
    """Those without support first."""
    bad: int
    """How many have no valid certificate."""
    start: int
    """Since when it holds, ns UTC."""
    end: int | None
    """Until when, ns UTC; None = while no fact is entered."""

    def holds(self, moment: int) -> bool:
        """Whether it is still right."""
        return self.start <= moment and (self.end is None or moment < self.end)

    def like(self, asked: str) -> Sequence[Supported]:
        """Instruments whose id, name, serial number, point or agent holds a text, any case."""
        wanted = asked.strip().casefold()
        if not wanted:
            return self.rows
        return [row for row in self.rows if wanted in _words(row.instrument)]


def _words(item: Instrument) -> str:
    words = (item.id, item.name.zh, item.name.en, item.serial, item.point, item.agent)
    return "\n".join(words).casefold()


def instrument_order(
    instruments: Iterable[Instrument], knowledge: Knowledge, moment: int
) -> InstrumentOrder:
    """The order of a plant's instruments at a moment, ns UTC."""
    rows = []
    changes: list[int] = []
    for item in instruments:
        paper, state = knowledge.certificate_at(item.id, moment)
        known = knowledge.certificates(item.id)
        if paper is None and known:
            paper = known[-1]
        for one in known:
            changes += [t for t in (one.valid_from, one.valid_to) if t is not None and t > moment]
        changes += [change.at for change in knowledge.exchanges(item.id) if change.at > moment]
        due = paper.valid_to if paper else None
        rows.append(Supported(item, paper.id if paper else "", state.value, due))
    rows.sort(key=lambda r: (r.state == "valid", r.state == "missing", r.instrument.id))
    bad = sum(1 for row in rows if row.state != "valid")
    return InstrumentOrder(rows, bad, moment, min(changes, default=None))
