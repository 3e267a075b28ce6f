"""How long to leave a store alone that refused."""

from __future__ import annotations

from ingest.series import StoreError
from mrv.errors import MeterprintError

PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses after one refusal after another, the last one from then on."""


class BackOff:
    """Counts refusals in a row."""

    def __init__(self) -> None:
        self.refusals = 0
        """Refusals since the store took something."""

    def pause(self, error: MeterprintError) -> float:
        """Seconds to wait after this refusal: what the store asked for, else ever longer.

        A store that asks for no pause at all, or for one that is over, still gets the shortest.
        """
        asked = error.again_in_s if isinstance(error, StoreError) else None
        own = PAUSES_S[min(self.refusals, len(PAUSES_S) - 1)]
        self.refusals += 1
        return own if asked is None else max(asked, PAUSES_S[0])

    def calm(self) -> None:
        """The store took something."""
        self.refusals = 0
