"""Stretches: time in which the meaning of a register does not change.

In a stretch the same instrument, ratio and certificate are in force. A step belongs to the
stretch its end lies in, so stretches share a reading; an exchange is a closing and an opening
reading and a cut (design §3, "The law of numbers").
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from footprint.knowledge import Knowledge
from footprint.plant import Instrument, PlantModel, Register
from mrv.interval import NS_PER_MS
from mrv.measurement.activity import (
    LawParameters,
)
from mrv.measurement.calibration import Certificate, CertificateState, curve

FOREVER = 2**63 - 1
"""Last ns of the time scale."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Time in which the meaning of a register does not change."""

    start: int
    """Moment from which it holds, ns; 0 = from the first reading."""
    end: int
    """Moment at which it ceases, ns; FOREVER = open."""
    ratio: Fraction
    """Transformer ratio, > 0."""
    unit: str
    """Unit of the register."""
    resolution: Fraction
    """Value of one count in `unit`, > 0."""
    law: LawParameters
    """Modulus, plausible rate, gap rule and correction curve."""
    certificate: Certificate | None
    """Certificate in force, None = none."""
    state: CertificateState
    """Why there is none, or valid."""
    opening: int | None = None
    """Register at the start where it was exchanged there, counts."""
    closing: int | None = None
    """Register at the end where it was exchanged there, counts."""
    count: Fraction = field(init=False, compare=False, repr=False)
    """What one count stands for, ratio applied, in `unit`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", self.ratio * self.resolution)

    def meaning(self) -> tuple[object, ...]:
        """What holds in it, apart from when."""
        return self.ratio, self.unit, self.resolution, self.law, self.certificate, self.state


def stretches(
    knowledge: Knowledge, plant: PlantModel, instrument: Instrument, register: Register
) -> tuple[Stretch, ...]:
    """The stretches of a register, in the order of time, without a gap between them.

    `plant` with its `instrument` and `register` stands in where a plant model lacks them.
    """
    exchanges = knowledge.exchanges(instrument.id)
    cuts = {0, FOREVER, *(e.at for e in exchanges), *knowledge.plant_changes()}
    for certificate in knowledge.certificates(instrument.id):
        cuts.add(certificate.valid_from)
        cuts |= {m for m in (certificate.valid_to, certificate.revoked_at) if m is not None}
    ordered = sorted(cut for cut in cuts if 0 <= cut <= FOREVER)
    found: list[Stretch] = []
    for start, end in itertools.pairwise(ordered):
        model = knowledge.plant_at(start) or plant
        here = model.instrument(instrument.id) or instrument
        stated = here.register(register.id) or register
        ratio = _ratio_at(knowledge, instrument, start)
        paper, state = knowledge.certificate_at(instrument.id, start)
        load, ppm = curve(paper)
        opened = next((e for e in exchanges if e.at == start), None)
        closed = next((e for e in exchanges if e.at == end), None)
        found.append(
            Stretch(
                start,
                end,
                ratio,
                stated.unit,
                stated.resolution,
                LawParameters(
                    stated.modulus,
                    stated.max_rate,
                    model.policy.gap // NS_PER_MS,
                    load,
                    ppm,
                ),
                paper,
                state,
                dict(opened.opening).get(register.id) if opened else None,
                dict(closed.closing).get(register.id) if closed else None,
            )
        )
    return _merged(found)


def _ratio_at(knowledge: Knowledge, instrument: Instrument, moment: int) -> Fraction:
    """The transformer ratio in force: what an exchange, or a plant that changes it, said last."""
    stated: list[tuple[int, Fraction]] = []
    before: Fraction | None = None
    for place, (since, plant) in enumerate(knowledge.plants):
        model = plant.instrument(instrument.id)
        if model is not None and model.ratio != before:
            before = model.ratio
            stated.append((since if place else 0, before))
    exchanges = knowledge.exchanges(instrument.id)
    stated += [(e.at, e.ratio) for e in exchanges if e.ratio is not None]
    stated.sort(key=lambda pair: pair[0])
    known = [ratio for since, ratio in stated if since <= moment]
    return known[-1] if known else instrument.ratio


def _merged(found: Sequence[Stretch]) -> tuple[Stretch, ...]:
    merged: list[Stretch] = []
    for stretch in found:
        last = merged[-1] if merged else None
        if last is not None and last.closing is None and stretch.opening is None:
            joined = replace(last, end=stretch.end, closing=stretch.closing)
            if joined == replace(stretch, start=last.start, opening=last.opening):
                merged[-1] = joined
                continue
        merged.append(stretch)
    return tuple(merged)
