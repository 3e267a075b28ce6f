"""Python's cycle collector, set for a process that holds millions of readings."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 200_000, 50, 100
"""Allocations before a collection, and collections before one of the next older generation.

Readings are tuples of integers that are never part of a cycle; at the default (700, 10, 10) a
fifth of the time of ingest went into looking at them again and again (bench/ingest).
"""


def calm_collector() -> None:
    """Collect seldom; what is alive at the start is never looked at again."""
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
