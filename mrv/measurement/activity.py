"""Activity of a register in windows of time, with the states its steps were in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mrv.finding import Finding, Severity
from mrv.interval import NS_PER_MS
from mrv.measurement import law
from mrv.measurement.usual_steps import BLOCK, ROOM
from mrv.series import Series

STATE_RULES = (
    ("", Severity.INFO),
    ("gap", Severity.WARNING),
    ("roll_over", Severity.INFO),
    ("reset", Severity.WARNING),
    ("dip", Severity.WARNING),
    ("spike", Severity.WARNING),
    ("jump", Severity.ERROR),
    ("backward", Severity.ERROR),
    ("out_of_range", Severity.WARNING),
)
"""Rule and severity of each state of the law, by its place."""

Kernel = Callable[..., None]
"""`law.counter_law` or `law.amount_law`, as it is or compiled from the same source."""


def plain(values: Sequence[int]) -> Sequence[int]:
    """A list of Python's own integers, which have no bound, out of a list or an integer array."""
    listed: Sequence[int] = values.tolist() if hasattr(values, "tolist") else list(values)
    return listed


@dataclass(frozen=True, slots=True)
class Kernels:
    """The two laws, interpreted or compiled; both give the same integers."""

    counter: Kernel = law.counter_law
    """Law of cumulative registers."""
    amount: Kernel = law.amount_law
    """Law of amounts."""
    wrap: Callable[[Sequence[int]], Sequence[int]] = plain
    """Turns a sequence into what the kernels take (a list, an int64 array)."""
    flags: Callable[[Sequence[int]], Sequence[int]] = plain
    """Turns a sequence of 0 and 1 into what the kernels take."""
    zeros: Callable[[int], Sequence[int]] = lambda size: [0] * size
    """Makes an output of that many zeros."""
    fits: Callable[[Series, LawParameters, bool], bool] = lambda *_: True
    """Whether every sum over the readings of a counter (True) or of amounts stays within the
    integers the kernels have."""
    choose: Callable[[int], Kernels] | None = None
    """Where it depends on what there is to do: the kernels for so many readings."""

    def of(self, readings: int) -> Kernels:
        """The kernels to use on so many readings."""
        return self if self.choose is None else self.choose(readings)

    def workspace(self, readings: int, points: int) -> tuple[Any, tuple[Any, ...]]:
        """`cells` and `room` the law of counters works in."""
        size = min(readings, BLOCK) + 1
        return self.zeros(2 * max(points, 1)), tuple(self.zeros(size) for _ in range(ROOM))


PYTHON = Kernels()
"""The laws as plain Python, which is what a verifier runs."""


@dataclass(frozen=True, slots=True)
class LawParameters:
    """What the law needs to know of a register."""

    modulus: int = 0
    """Counts at which it rolls over, 0 = never."""
    max_rate: int = 0
    """Largest plausible rate, counts per hour, 0 = unknown."""
    gap_ms: int = 0
    """Steps longer than this are gaps, ms, 0 = none."""
    load: tuple[int, ...] = ()
    """Loads of the correction curve, counts per hour, rising."""
    ppm: tuple[int, ...] = ()
    """Correction at each load, ppm."""


@dataclass(frozen=True, slots=True)
class WindowSum:
    """What the law found in one window; addable."""

    corrected: int = 0
    """Corrected amount, millionths of the resolution."""
    metered: int = 0
    """Amount as the register shows it, millionths of the resolution."""
    gap: int = 0
    """Part of `corrected` that lies in gap steps, millionths."""
    withheld: int = 0
    """Counts kept out because no meter can show them, signed."""
    weights: tuple[int, ...] = ()
    """`metered` by point of the correction curve, millionths."""
    counts: tuple[int, ...] = (0,) * law.STATES
    """Steps in each state, by place in STATE_RULES."""

    def __add__(self, other: WindowSum) -> WindowSum:
        weights = self.weights or other.weights
        if self.weights and other.weights:
            weights = tuple(a + b for a, b in zip(self.weights, other.weights, strict=True))
        return WindowSum(
            self.corrected + other.corrected,
            self.metered + other.metered,
            self.gap + other.gap,
            self.withheld + other.withheld,
            weights,
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
        )

    def __sub__(self, other: WindowSum) -> WindowSum:
        """What is left of a sum without a part that was added to it."""
        weights = self.weights
        if other.weights:
            weights = tuple(a - b for a, b in zip(weights, other.weights, strict=True))
        return WindowSum(
            self.corrected - other.corrected,
            self.metered - other.metered,
            self.gap - other.gap,
            self.withheld - other.withheld,
            weights,
            tuple(a - b for a, b in zip(self.counts, other.counts, strict=True)),
        )


def _collect(
    windows: int,
    points: int,
    outputs: Sequence[Sequence[int]],
    weights: Sequence[int],
    counts: Sequence[int],
) -> list[WindowSum]:
    amounts, metereds, gaps, withheld = outputs
    return [
        WindowSum(
            int(amounts[w]),
            int(metereds[w]),
            int(gaps[w]),
            int(withheld[w]),
            tuple(int(x) for x in weights[w * points : (w + 1) * points]),
            tuple(int(x) for x in counts[w * law.STATES : (w + 1) * law.STATES]),
        )
        for w in range(windows)
    ]


def counter_windows(
    series: Series, cuts: Sequence[int], parameters: LawParameters, kernels: Kernels = PYTHON
) -> list[WindowSum]:
    """Windows [cuts[i], cuts[i+1]) of a cumulative register; cuts in ns on whole milliseconds."""
    windows, points = len(cuts) - 1, len(parameters.load)
    kernels = kernels.of(len(series))
    if not kernels.fits(series, parameters, True):
        kernels = PYTHON
    zeros = kernels.zeros
    outputs = [zeros(windows), zeros(windows), zeros(windows), zeros(windows)]
    weights, counts = zeros(max(windows * points, 1)), zeros(windows * law.STATES)
    kernels.counter(
        kernels.wrap(series.t),
        kernels.wrap(series.v),
        kernels.flags(series.ok),
        kernels.wrap([cut // NS_PER_MS for cut in cuts]),
        parameters.modulus,
        parameters.max_rate,
        parameters.gap_ms,
        kernels.wrap(parameters.load),
        kernels.wrap(parameters.ppm),
        *outputs,
        weights,
        counts,
        *kernels.workspace(len(series), points),
    )
    return _collect(windows, points, outputs, weights, counts)


def amount_windows(
    series: Series, cuts: Sequence[int], parameters: LawParameters, kernels: Kernels = PYTHON
) -> list[WindowSum]:
    """Windows of an amount channel; every amount given is split, so leave tagged ones out."""
    windows, points = len(cuts) - 1, len(parameters.load)
    kernels = kernels.of(len(series))
    if not kernels.fits(series, parameters, False):
        kernels = PYTHON
    zeros = kernels.zeros
    outputs = [zeros(windows), zeros(windows), zeros(windows)]
    weights, counts = zeros(max(windows * points, 1)), zeros(windows * law.STATES)
    kernels.amount(
        kernels.wrap(series.t),
        kernels.wrap(series.length or [0] * len(series)),
        kernels.wrap(series.v),
        kernels.flags(series.ok),
        kernels.wrap([cut // NS_PER_MS for cut in cuts]),
        kernels.wrap(parameters.load),
        kernels.wrap(parameters.ppm),
        *outputs,
        weights,
        counts,
    )
    return _collect(windows, points, [*outputs, zeros(windows)], weights, counts)


def findings_of(window: WindowSum, subject: str, at: int) -> list[Finding]:
    """Findings the states of a window make, one a rule, with the number of steps."""
    found = []
    for (rule, severity), count in zip(STATE_RULES, window.counts, strict=True):
        if rule and count:
            numbers: tuple[tuple[str, str], ...] = (("steps", str(count)),)
            if rule in ("jump", "backward"):
                numbers = (*numbers, ("withheld_counts", str(window.withheld)))
            found.append(Finding(rule, subject, at, severity, numbers))
    return found
