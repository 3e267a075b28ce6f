"""Which batches would choose other factors under new facts."""

from __future__ import annotations

from bisect import bisect_right

from footprint.catalogue import TWO_YEARS, Choice, FactorError, FactorRequest
from footprint.knowledge import Knowledge
from footprint.plant import PlantModel
from footprint.stated_batches import Batch


class FactorChanges:
    """Whether a batch would choose other factors under new knowledge."""

    def __init__(self, before: Knowledge, after: Knowledge) -> None:
        self._both = (before, after)
        moments = {
            moment
            for knowledge in self._both
            for factor in knowledge.factors
            for moment in (
                factor.valid_from,
                factor.valid_to,
                None if factor.valid_to is None else factor.valid_to + TWO_YEARS + 1,
            )
            if moment is not None
        }
        self._cuts = sorted(moments)
        self._known: dict[tuple[int, FactorRequest, int], bool] = {}

    def _choice(self, side: int, plant: PlantModel, request: FactorRequest, at: int) -> object:
        try:
            choice: Choice = self._both[side].catalogue(plant).choose(request, at)
        except FactorError as error:
            return str(error)
        return choice

    def differs(self, plant: PlantModel, request: FactorRequest, at: int) -> bool:
        """Whether the request is answered otherwise at `at`."""
        place = (id(plant), request, bisect_right(self._cuts, at))
        found = self._known.get(place)
        if found is None:
            sides = [self._choice(side, plant, request, at) for side in (0, 1)]
            found = self._known[place] = sides[0] != sides[1]
        return found

    def batch(self, plant: PlantModel, batch: Batch) -> bool:
        """Whether any factor of the batch is another one now."""
        at = batch.start if batch.end is None else batch.end - 1
        requests = [s.factor for s in plant.sources if batch.line in s.lines]
        product = plant.product(batch.product)
        requests += [material.factor for material in product.materials] if product else []
        return any(r is not None and self.differs(plant, r, at) for r in requests)
