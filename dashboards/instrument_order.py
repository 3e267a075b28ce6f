"""Instruments with the state of their certificates, those without support first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

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
    papers: tuple[str, ...] = ()
    """All its certificates."""


@dataclass(frozen=True)
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
        """Instruments that a text tells of, in any case; one of just that name before all others.

        It is looked for in id, name, serial number, point, agent and certificates.
        """
        wanted = asked.strip().casefold()
        if not wanted:
            return self.rows
        found = [row for row, text in zip(self.rows, self._texts, strict=True) if wanted in text]
        found.sort(key=lambda row: row.instrument.id.casefold() != wanted)
        return found

    @cached_property
    def _texts(self) -> Sequence[str]:
        """What each instrument is looked for in."""
        return [_words(row) for row in self.rows]


def _words(row: Supported) -> str:
    item = row.instrument
    words = (item.id, item.name.zh, item.name.en, item.serial, item.point, item.agent)
    return "\n".join((*words, *row.papers)).casefold()


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
        papers = tuple(one.id for one in known)
        rows.append(Supported(item, paper.id if paper else "", state.value, due, papers))
    rows.sort(key=lambda r: (r.state == "valid", r.state == "missing", r.instrument.id))
    bad = sum(1 for row in rows if row.state != "valid")
    return InstrumentOrder(rows, bad, moment, min(changes, default=None))
