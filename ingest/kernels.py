"""The law of numbers compiled by numba from the same source that `verify` interprets.

`mrv.measurement.law` stays as it is: its source is loaded a second time as a private module, and
there each function is replaced by its compiled self, so that they call each other compiled.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from mrv.errors import MeterprintError
from mrv.interval import NS_PER_MS
from mrv.measurement import law
from mrv.measurement.activity import (
    PYTHON,
    Kernels,
    LawParameters,
    amount_windows,
    counter_windows,
)
from mrv.series import Series

FUNCTIONS = (
    "narrow",
    "usual_steps",
    "muldiv",
    "plausible_increment",
    "correction_at",
    "_window_of",
    "share_out",
    "counter_law",
    "amount_law",
)
"""Functions of the law, callees first."""
ROOM = 9.0e18
"""What a sum may reach, with room for the rounding of the bound, below 2⁶³."""
LONG_MS = 10**12
"""Time beyond which the plausible rate no longer bounds a step (`law.plausible_increment`), ms."""
PRIVATE = "ingest._compiled_law"
"""Name of the private copy."""


def _private_copy() -> ModuleType:
    spec = importlib.util.spec_from_file_location(PRIVATE, law.__file__)
    if spec is None or spec.loader is None:
        raise MeterprintError(f"the source of {law.__name__} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PRIVATE] = module
    spec.loader.exec_module(module)
    return module


@cache
def compiled() -> Kernels:
    """The compiled laws; importing numba and compiling happen at the first call."""
    import numba  # noqa: PLC0415 (a third of a second, and only servers have it)
    import numpy as np  # noqa: PLC0415

    module = _private_copy()
    for name in FUNCTIONS:
        function = getattr(module, name)
        setattr(module, name, numba.njit(cache=True, nogil=True, error_model="numpy")(function))

    def wrap(values: Sequence[int]) -> Any:
        return np.asarray(values, dtype=np.int64)

    def flags(values: Sequence[int]) -> Any:
        return np.asarray(values, dtype=np.int8)

    def zeros(size: int) -> Any:
        return np.zeros(size, dtype=np.int64)

    measure = numba.njit(cache=True, nogil=True)(extent)
    fits = fits_by(measure)
    made = Kernels(module.counter_law, module.amount_law, wrap, flags, zeros, fits)
    _exercise(made)
    return made


def extent(v: Sequence[int], ok: Sequence[int], counter: bool) -> tuple[float, float, int]:
    """(largest |v|, Σ of sizes, falls) of the good readings.

    Sizes are those of the steps of a counter, those of amounts up to what the law takes in. In
    floats, as they may be beyond 64 bits.
    """
    largest = 0.0
    most = 0.0
    falls = 0
    before = 0.0
    first = True
    for place in range(len(v)):
        if ok[place] == 0:
            continue
        shown = float(v[place])
        size = abs(shown)
        largest = max(largest, size)
        if not counter:
            most += min(size, float(law.MAX_INCREMENT))
        elif not first:
            most += abs(shown - before)
            falls += shown < before
        before = shown
        first = False
    return largest, most, falls


def fits_by(measure: Callable[..., tuple[float, float, int]]) -> Callable[..., bool]:
    """The question whether no sum of the law over some readings can leave 64 bits.

    What a window may hold is bounded by all there is: of a counter the steps as they stand, and
    for each step down a roll-over or a new start; of amounts their sizes. Python's integers have no
    bound, those of the compiled law wrap without a word. `measure` is `extent`, compiled or not.
    """
    import numpy as np  # noqa: PLC0415

    def fits(series: Series, parameters: LawParameters, counter: bool) -> bool:
        factor = law.MILLION + max((abs(ppm) for ppm in parameters.ppm), default=0)
        try:
            v, ok = np.asarray(series.v, dtype=np.int64), np.asarray(series.ok, dtype=np.int8)
        except OverflowError:
            return False
        if not len(v):
            return True
        if any((b - a) * law.MILLION >= ROOM for a, b in itertools.pairwise(parameters.load)):
            return False  # where between two points a load lies is told in millionths
        low, high = int(v.min()), int(v.max())
        if counter and _plausibly_fits(series, parameters, low, high, factor):
            return True
        largest, most, falls = measure(v, ok, counter)
        if counter:
            most += falls * max(parameters.modulus, min(largest, law.MAX_INCREMENT))
        return most * factor < ROOM and largest < ROOM

    return fits


def _plausibly_fits(
    series: Series, parameters: LawParameters, low: int, high: int, factor: int
) -> bool:
    """Whether the largest plausible rate alone bounds what a counter can have counted.

    Every step counts at most what the rate allows in its time (`law.plausible_increment`); what it
    does not allow is withheld and bounded by how far the values lie apart.
    """
    size, time = len(series), (int(series.t[-1]) - int(series.t[0])) // NS_PER_MS
    if parameters.max_rate <= 0 or time > LONG_MS:
        return False
    counted = parameters.max_rate * 11 // 10 * time // law.MS_PER_HOUR + 2 * size
    return counted * factor < ROOM and size * (max(high, 0) - min(low, 0)) < ROOM


def _exercise(made: Kernels) -> None:
    """Call both laws once, so that they are compiled now."""
    series = Series([0, 1, 2], [0, 1, 2], [1, 1, 1], [0, 0, 0])
    law_parameters = LawParameters(load=(1, 2), ppm=(0, 0))
    counter_windows(series, [0, NS_PER_MS], law_parameters, made)
    amount_windows(series, [0, NS_PER_MS], law_parameters, made)


PLAIN_READINGS = 200_000
"""Readings that are computed by the plain law before compiling is worth its time."""


class OnDemand:
    """Kernels that are plain at first and compiled once that pays; both give the same integers.

    Compiling takes seconds on a new machine, fetching it from its cache half of one: a command
    that looks at a batch never pays for it, and a server has it done beside its work by `warm`.
    """

    def __init__(self) -> None:
        self._done = 0
        self._ready: Kernels | None = None

    def choose(self, readings: int) -> Kernels:
        """The kernels for so many readings."""
        if self._ready is None:
            self._done += readings
            if self._done > PLAIN_READINGS:
                self.warm()
        return self._ready or PYTHON

    def warm(self) -> None:
        """Have the compiled kernels ready; may be called from a thread of its own."""
        self._ready = compiled()


def on_demand() -> tuple[Kernels, OnDemand]:
    """Kernels for an engine, and what compiles them."""
    demand = OnDemand()
    return Kernels(choose=demand.choose), demand
