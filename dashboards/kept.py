"""What was made of something and still holds: so many pieces of it, and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from operator import is_
from typing import Generic, TypeVar

T = TypeVar("T")
Basis = tuple[object, ...]
"""Objects a piece rests on, always as many for pieces of one kind."""


class Kept(Generic[T]):
    """Pieces by name, made again where what they rest on is another one; any thread may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[Hashable, tuple[Basis, object, T]] = {}
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def held(self, name: Hashable, basis: Basis, stamp: object) -> T | None:
        """The piece of that name, as long as `basis` are the same objects and `stamp` equal."""
        held = self._held.get(name)
        if held is None or held[1] != stamp or not all(map(is_, held[0], basis)):
            return None
        return held[2]

    def keep(self, name: Hashable, basis: Basis, stamp: object, made: T) -> None:
        """Hold a piece; where there are too many the half that was made first goes."""
        with self._turn:
            self._held.pop(name, None)
            self._held[name] = (basis, stamp, made)
            if len(self._held) > self._most:
                for old in list(self._held)[: self._most // 2]:
                    del self._held[old]

    def get(self, name: Hashable, basis: Basis, stamp: object, make: Callable[[], T]) -> T:
        """The piece that is held, else one that is made and held."""
        found = self.held(name, basis, stamp)
        if found is None:
            found = make()
            self.keep(name, basis, stamp, found)
        return found
