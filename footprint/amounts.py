"""Amounts taken whole, as weighings are that name their batch: no window cuts them."""

from __future__ import annotations

from collections.abc import Sequence

from footprint.activity import Activity
from footprint.stretch import FOREVER, Stretch
from footprint.stretch_readings import amounts_in
from mrv.measurement.activity import Kernels, amount_windows
from mrv.series import Series


def amounts_of(
    series: Series, stretches: Sequence[Stretch], kernels: Kernels, *, untagged: bool = True
) -> Activity:
    """All amounts of some readings, each in the stretch it starts in, or the tagged ones alone."""
    parts = []
    for stretch in stretches:
        piece = amounts_in(series, stretch, untagged=untagged)
        if len(piece):
            window = amount_windows(piece, [0, FOREVER], stretch.law, kernels)[0]
            parts.append((stretch, window))
    return Activity(tuple(parts))
