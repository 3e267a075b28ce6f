"""Balances of a plant: the main meter against the meters below it, window by window (VDI 2048)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from footprint.activity_uncertainty import window_components
from footprint.engine import Engine
from footprint.exact import decimal_text, float_text
from footprint.metering import Meter
from footprint.plant import Balance, Instrument, PlantModel, Register
from mrv.finding import Finding, Severity
from mrv.measurement.uncertainty import Components, total
from mrv.quantity import Quantity, UnitError
from mrv.reporting.reconciliation import Reconciliation, reconcile

MAX_WINDOWS = 100_000
"""Most windows one answer holds; the latest ones are kept."""


@dataclass(frozen=True, slots=True)
class BalanceLine:
    """One meter's part in one window of a balance."""

    channel: str
    """`<instrument>.<register>`."""
    sign: int
    """+1 for the main meter, −1 for one below it."""
    value: Fraction
    """Corrected activity, in the unit of the balance."""
    components: Components
    """Its uncertainty, in that unit by source."""


@dataclass(frozen=True, slots=True)
class BalanceWindow:
    """A balance over one window of time."""

    balance: Balance
    """The balance."""
    start: int
    """First ns."""
    end: int
    """First ns after it."""
    unit: str
    """Unit of the main meter."""
    lines: tuple[BalanceLine, ...]
    """The main meter, then those below it; empty where not all cover the window."""
    missing: tuple[str, ...]
    """Channels that do not cover the window."""

    @property
    def residual(self) -> Fraction:
        """Main − Σ below, exact."""
        return sum((line.sign * line.value for line in self.lines), Fraction(0))

    @property
    def components(self) -> Components:
        """Uncertainty of the residual: what two meters share cancels in it."""
        return total([line.components.scaled(line.sign) for line in self.lines])

    @property
    def normalised(self) -> float:
        """|residual| / u; 0 where nothing is left, infinite where nothing may be left."""
        u = self.components.u
        if self.residual == 0:
            return 0.0
        return abs(float(self.residual)) / u if u else math.inf

    @property
    def result(self) -> str:
        """Outcome: pass, fail or not_checkable."""
        if self.missing:
            return "not_checkable"
        return "pass" if self.normalised <= float(self.balance.k) else "fail"

    def adjusted(self) -> Reconciliation:
        """What the meters would have to show for the balance to close: a proposal only."""
        parts = [line.components for line in self.lines]
        covariance = [[one.covariance(other) for other in parts] for one in parts]
        signs = [float(line.sign) for line in self.lines]
        return reconcile([float(line.value) for line in self.lines], covariance, [signs])

    def finding(self) -> Finding | None:
        """A residual that the meters' uncertainty does not explain."""
        if self.result != "fail":
            return None
        numbers = (
            ("residual", decimal_text(self.residual)),
            ("u", float_text(self.components.u)),
            ("k", decimal_text(self.balance.k)),
            ("unit", self.unit),
        )
        subject, clause = self.balance.id, "VDI 2048"
        return Finding("balance_residual", subject, self.start, Severity.WARNING, numbers, clause)

    def to_json(self) -> dict[str, Any]:
        """Exact decimal strings; `meters` with what the least squares adjustment proposes."""
        found = self.adjusted() if self.lines else None
        return {
            "balance": self.balance.id,
            "start": str(self.start),
            "end": str(self.end),
            "unit": self.unit,
            "result": self.result,
            "missing": list(self.missing),
            "residual": decimal_text(self.residual) if self.lines else None,
            "u": float_text(self.components.u) if self.lines else None,
            "normalised": float_text(self.normalised) if self._finite() else None,
            "k": decimal_text(self.balance.k),
            "meters": [
                {
                    "channel": line.channel,
                    "sign": line.sign,
                    "value": decimal_text(line.value),
                    "u": float_text(line.components.u),
                    "reconciled": float_text(found.adjusted[i], 12),
                    "u_reconciled": float_text(found.u[i]),
                    "z": float_text(found.z[i]),
                }
                for i, line in enumerate(self.lines)
                if found is not None
            ],
        }

    def _finite(self) -> bool:
        return bool(self.lines) and math.isfinite(self.normalised)


def balance_windows(
    engine: Engine, plant: PlantModel, start: int | None = None, end: int | None = None
) -> list[BalanceWindow]:
    """Every balance of the plant over its windows in [start, end), by balance and time.

    Windows begin at whole multiples of plant time. Left out ends are those of the main meter's
    readings, so that a window it covers in part says which meters are missing.
    """
    found: list[BalanceWindow] = []
    for balance in plant.balances:
        meters = [_meter(engine, plant, name) for name in (balance.main, *balance.subs)]
        present = [m for m in meters if m is not None]
        if len(present) != len(meters):
            continue
        span = present[0][1].span()
        if span is None:
            continue
        window, offset = balance.window, balance.offset
        low = span[0] if start is None else start
        high = span[1] if end is None else end
        place = (low + offset) // window * window - offset
        if start is not None and place < start:
            place += window
        place = max(place, high - MAX_WINDOWS * window)
        while place < high and (end is None or place + window <= end):
            found.append(_window(balance, plant, present, place, place + window))
            place += window
    return found


def balance_findings(windows: Iterable[BalanceWindow]) -> list[Finding]:
    """Windows whose residual the meters' uncertainty does not explain."""
    return [f for window in windows if (f := window.finding()) is not None]


def _meter(
    engine: Engine, plant: PlantModel, channel: str
) -> tuple[str, Meter, Instrument, Register] | None:
    name, _, register = channel.partition(".")
    instrument = plant.instrument(name)
    stated = instrument.register(register) if instrument else None
    if instrument is None or stated is None:
        return None
    return channel, engine.meter(plant, instrument, stated), instrument, stated


def _window(
    balance: Balance,
    plant: PlantModel,
    meters: Sequence[tuple[str, Meter, Instrument, Register]],
    start: int,
    end: int,
) -> BalanceWindow:
    unit = meters[0][3].unit
    lines = []
    missing = []
    for place, (channel, meter, instrument, register) in enumerate(meters):
        if not _covers(meter, start, end):
            missing.append(channel)
            continue
        activity = meter.with_tagged(start, end)
        own = window_components(meter, instrument, register, activity, plant.policy, (start, end))
        try:
            scale = Quantity(Fraction(1), register.unit).to(unit).value
            value = activity.corrected_value(register.unit) * scale
        except UnitError:
            missing.append(channel)
            continue
        lines.append(BalanceLine(channel, -1 if place else 1, value, own.scaled(scale)))
    kept = () if missing else tuple(lines)
    return BalanceWindow(balance, start, end, unit, kept, tuple(missing))


def _covers(meter: Meter, start: int, end: int) -> bool:
    """Whether the meter has readings on both sides of the window (an amount: reaches its ends)."""
    span = meter.span()
    if span is None:
        return False
    return span[0] <= start and span[1] + meter.longest() >= end
