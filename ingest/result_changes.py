"""Who waits for or follows the results of batches, and is told which of them are others now."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

REMEMBERED = 1000
"""Changes that are remembered for those who follow them."""


class ResultChanges:
    """Changes of results, each with the version it made; any thread may ask."""

    def __init__(self) -> None:
        self.version = 0
        self._turn = threading.Condition()
        self._history: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
        self._followers: list[Callable[[], object]] = []

    def tell(self, changed: Sequence[str]) -> None:
        """Tell everybody who waits or follows that these batches have other results."""
        if not changed:
            return
        with self._turn:
            self.version += 1
            self._history.extend((self.version, name) for name in changed)
            self._turn.notify_all()
            followers = tuple(self._followers)
        for told in followers:
            told()

    def follow(self, told: Callable[[], object]) -> Callable[[], None]:
        """Have `told` called after each change, in the thread that tells; returns what ends it."""
        with self._turn:
            self._followers.append(told)

        def unfollow() -> None:
            with self._turn:
                self._followers.remove(told)

        return unfollow

    def since(self, version: int) -> list[str]:
        """Batches whose result is another one since a version, the latest last, each once.

        Only so many changes are remembered: it may be fewer than there were.
        """
        with self._turn:
            names = [name for at, name in self._history if at > version]
        return list(dict.fromkeys(reversed(names)))[::-1]

    def wait(self, version: int, timeout: float) -> int:
        """Block until results are newer than `version` or the time is over; the version now."""
        with self._turn:
            self._turn.wait_for(lambda: self.version > version, timeout)
            return self.version
