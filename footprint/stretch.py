"""Stretches: time in which the meaning of a register does not change.

In a stretch the same instrument, ratio and certificate are in force. A step belongs to the
stretch its end lies in, so stretches share a reading; an exchange is a closing and an opening
reading and a cut (design §3, "The law of numbers").
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
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


def stretches(
    knowledge: Knowledge, plant: PlantModel, instrument: Instrument, register: Register
) -> tuple[Stretch, ...]:
    """The stretches of a register, in the order of time, without a gap between them."""
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
        ratio = here.ratio
        for exchange in exchanges:
            if exchange.at <= start and exchange.ratio is not None:
                ratio = exchange.ratio
        paper, state = knowledge.certificate_at(instrument.id, start)
        load, ppm = curve(paper)
        opened = next((e for e in exchanges if e.at == start), None)
        closed = next((e for e in exchanges if e.at == end), None)
        found.append(
            Stretch(
                start,
                end,
                ratio,
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


def _merged(found: Sequence[Stretch]) -> tuple[Stretch, ...]:
    merged: list[Stretch] = []
    for stretch in found:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.closing is None
            and stretch.opening is None
            and (last.ratio, last.law, last.certificate, last.state)
            == (stretch.ratio, stretch.law, stretch.certificate, stretch.state)
        ):
            merged[-1] = Stretch(
                last.start,
                stretch.end,
                last.ratio,
                last.law,
                last.certificate,
                last.state,
                last.opening,
                stretch.closing,
            )
        else:
            merged.append(stretch)
    return tuple(merged)
