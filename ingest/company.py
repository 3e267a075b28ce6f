"""How long a lone message waits for others to share an fsync with (design §3)."""

from __future__ import annotations

import math

SHARE_FSYNC_S = 0.02
"""How long a lone message may wait for company at the most."""
COMMITS = 4
"""It waits for so many times as long as the last commit took: company is worth no more."""


class Company:
    """Whether company is worth waiting for, by what groups cost and how densely they come.

    Where the group before came longer ago than the wait is worth, nobody is to be expected and a
    lone message is committed at once; what comes meanwhile shares the next commit anyway.
    """

    def __init__(self) -> None:
        self._worth = SHARE_FSYNC_S
        self._before = -math.inf
        self._dense = False

    @property
    def wait(self) -> float:
        """How long the next message waits if it is alone, s."""
        return self._worth if self._dense else 0.0

    def taken(self, at: float) -> None:
        """A group is taken, monotonic s."""
        self._dense = at - self._before < self._worth
        self._before = at

    def done(self, at: float) -> None:
        """It is committed and answered, monotonic s."""
        self._worth = min(SHARE_FSYNC_S, COMMITS * (at - self._before))
