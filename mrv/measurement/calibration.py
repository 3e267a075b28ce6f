"""Certificates: what they do to an amount and what they say of its uncertainty (design §3).

A verification certificate (检定) is not a correction: u comes from the maximum permissible error.
A calibration certificate (校准) corrects by its curve once somebody has approved it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from mrv.errors import InputError, MeterprintError
from mrv.measurement.uncertainty import Components, rectangular
from mrv.quantity import exact_number

MILLION = 10**6
"""ppm in one."""


class CertificateKind(StrEnum):
    """The two papers, kept apart."""

    VERIFICATION = "verification"
    CALIBRATION = "calibration"


class MpeRule(StrEnum):
    """How a maximum permissible error becomes a standard uncertainty: a named policy."""

    RECTANGULAR = "mpe_over_sqrt3"
    """u = MPE/√3, rectangular (GUM §4.3.7)."""
    NINETY_FIVE = "mpe_over_2"
    """u = MPE/2: the MPE in service stands for the 95 % uncertainty (Reg. (EU) 2018/2066)."""


class CertificateState(StrEnum):
    """Whether a certificate supports a reading."""

    VALID = "valid"
    UNAPPROVED = "unapproved"
    EXPIRED = "expired"
    NOT_YET = "not_yet_valid"
    REVOKED = "revoked"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """One row of a calibration certificate."""

    load: int
    """Load at which it was taken, counts of the register per hour, ≥ 0."""
    error: Fraction
    """Relative error of indication, dimensionless (0.002 = +0.2 %)."""
    expanded: Fraction
    """Relative expanded uncertainty U of the error, dimensionless, > 0."""
    k: Fraction
    """Coverage factor of U."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of one instrument's register, as recorded."""

    id: str
    """Number of the certificate."""
    kind: CertificateKind
    """Verification or calibration."""
    instrument: str
    """Instrument it belongs to."""
    valid_from: int
    """Moment from which it applies, ns UTC."""
    valid_to: int | None
    """Moment at which it expires, ns UTC; None = states none."""
    mpe: Fraction
    """Verification: relative maximum permissible error, dimensionless."""
    points: tuple[CalibrationPoint, ...] = ()
    """Calibration: points by rising load."""
    common: Fraction = Fraction(0)
    """Calibration: relative standard uncertainty all points share (the reference standard)."""
    laboratory: str = ""
    """Who issued it."""
    serial: str = ""
    """Serial number of the meter it is of; "" = the one installed when it begins to hold."""
    approved: bool = False
    """Whether somebody has approved its use."""
    revoked_at: int | None = None
    """Moment from which it is withdrawn, ns UTC."""

    def state_at(self, moment: int) -> CertificateState:
        """Whether it supports a reading at `moment`."""
        if self.revoked_at is not None and moment >= self.revoked_at:
            return CertificateState.REVOKED
        if moment < self.valid_from:
            return CertificateState.NOT_YET
        if self.valid_to is not None and moment >= self.valid_to:
            return CertificateState.EXPIRED
        if self.kind is CertificateKind.CALIBRATION and not self.approved:
            return CertificateState.UNAPPROVED
        return CertificateState.VALID


MAX_LOAD = 2**53
"""Largest load of a curve, counts per hour; the law's integers keep their room above it."""
MAX_ERROR = Fraction(1, 2)
"""Largest relative error a point of a curve may state."""


def correction_ppm(error: Fraction) -> int:
    """Integer ppm to add to an indication of relative error e: −e/(1+e), nearest integer.

    E = E_ind/(1 + e), so the correction relative to the indication is 1/(1 + e) − 1; ties go to
    the even integer. Raises MeterprintError where e ≤ −1.
    """
    if error <= -1:
        raise MeterprintError(f"a relative error is above −100 %, seen {float(error):.3%}")
    return round(-error / (1 + error) * MILLION)


def curve(certificate: Certificate | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(loads, ppm) of an approved calibration certificate; empty for anything else."""
    if certificate is None or certificate.kind is not CertificateKind.CALIBRATION:
        return (), ()
    if not certificate.approved:
        return (), ()
    loads = tuple(point.load for point in certificate.points)
    return loads, tuple(correction_ppm(point.error) for point in certificate.points)


def amount_components(
    certificate: Certificate | None,
    instrument: str,
    mpe: Fraction,
    rule: MpeRule,
    metered: float,
    by_point: Sequence[float],
) -> Components:
    """Uncertainty an amount owes to its instrument.

    `metered` and `by_point` (one for each curve point) in the amount's unit; `mpe` is the
    instrument's own limit, used where no certificate supports it or it is a verification. A
    calibration gives a component for each point (its own repeatability) and one that all share.
    Interpolation between points is linear in the points' errors, so are the components.
    """
    if certificate is None or not curve(certificate)[0]:
        limit = certificate.mpe if certificate is not None and certificate.mpe else mpe
        relative = rectangular(float(limit)) if rule is MpeRule.RECTANGULAR else float(limit) / 2
        source = f"mpe:{instrument}" if certificate is None else f"mpe:{certificate.id}"
        return Components({source: relative * metered})
    parts: dict[str, float] = {}
    common = float(certificate.common)
    for place, (point, share) in enumerate(zip(certificate.points, by_point, strict=True)):
        u = float(point.expanded / point.k)
        own = max(u * u - common * common, 0.0) ** 0.5
        parts[f"cal:{certificate.id}:{place + 1}"] = own * share
    parts[f"cal:{certificate.id}:common"] = common * metered
    return Components(parts)


def _number(body: Mapping[str, object], name: str, default: str | None = None) -> Fraction:
    value = body.get(name, default)
    try:
        return exact_number(str(value))
    except ValueError as error:
        raise InputError(f"a number is expected, seen {value!r}", field=name) from error


def read_certificate(
    subject: str, body: Mapping[str, object], valid_from: int, valid_to: int | None
) -> Certificate:
    """A certificate from the body of its `certificate_recorded` fact. Raises InputError."""
    kind = str(body.get("kind", ""))
    if kind not in tuple(CertificateKind):
        raise InputError(f"verification or calibration is expected, seen {kind!r}", field="kind")
    rows = body.get("points", [])
    if not isinstance(rows, list):
        raise InputError("a list of points is expected", field="points")
    points = []
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError("a point is an object", field=f"points[{place}]")
        points.append(
            CalibrationPoint(
                load=int(_number(row, "load")),
                error=_number(row, "error_percent") / 100,
                expanded=_number(row, "expanded_percent") / 100,
                k=_number(row, "k", "2"),
            )
        )
    loads = [point.load for point in points]
    if sorted(set(loads)) != loads:
        raise InputError(f"points stand by rising load, seen {loads}", field="points")
    if loads and not 0 <= loads[0] <= loads[-1] <= MAX_LOAD:
        raise InputError(f"loads lie between 0 and {MAX_LOAD}, seen {loads}", field="points")
    if any(abs(point.error) > MAX_ERROR for point in points):
        raise InputError(
            "an error beyond ±50 % is a broken instrument",
            field="points",
            hint="error_percent is a percentage of the indication",
        )
    if any(point.k <= 0 or point.expanded < 0 for point in points):
        raise InputError("k is positive and U not negative", field="points")
    if kind == CertificateKind.CALIBRATION and not points:
        raise InputError("a calibration certificate has at least one point", field="points")
    return Certificate(
        id=subject,
        kind=CertificateKind(kind),
        instrument=str(body.get("instrument", "")),
        valid_from=valid_from,
        valid_to=valid_to,
        mpe=_number(body, "mpe_percent", "0") / 100,
        points=tuple(points),
        common=_number(body, "common_percent", "0") / 100,
        laboratory=str(body.get("laboratory", "")),
        serial=str(body.get("serial", "")),
    )
