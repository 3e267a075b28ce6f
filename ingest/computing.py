"""Computes batches one after the other and enters their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from footprint.batch import BatchState
from footprint.engine import Engine
from footprint.exact import decimal_text
from footprint.out_of_date import NOTHING, Standing, standing
from footprint.stated_batches import Batch
from ingest.result_store import ResultStore, Revision

AHEAD = 200
"""Batches whose readings are read together."""
Wanted = tuple[Batch, frozenset[str] | None]
"""A batch and the instruments that say something else, None = all of it is out of date."""


def compute(
    engine: Engine,
    results: ResultStore,
    wanted: Sequence[Wanted],
    index: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Compute batches, by start, as known at a journal `index`; names of those that changed."""
    changed = []
    stands: dict[str, Standing] = {}
    for place, (batch, _) in enumerate(wanted):
        if progress is not None and place % 20 == 0:
            progress(place, len(wanted))
        if place % AHEAD == 0:
            if place:  # what the batches before asked for was theirs
                engine.trim()
            together = wanted[place : place + AHEAD]
            stands = {
                one.id: standing(results.get(one.id), one, instruments)
                for one, instruments in together
                if instruments is not None
            }
            engine.foresee((one for one, _ in together), stands)
        if _enter(engine, results, batch.id, stands.get(batch.id, NOTHING), index):
            changed.append(batch.id)
    if wanted and progress is not None:
        progress(len(wanted), len(wanted))
    return changed


def _enter(engine: Engine, results: ResultStore, name: str, stands: Standing, index: int) -> bool:
    """Compute a batch of which something stands; whether its result changed."""
    result = engine.batch(name, stands)
    if result is None or not results.put(name, result):
        return False
    if result.state is not BatchState.PROVISIONAL:
        per_unit = result.per_unit or decimal_text(result.footprint)
        revision = Revision(index, results.digest(name), result.state, per_unit)
        results.revise(name, revision)
    return True
