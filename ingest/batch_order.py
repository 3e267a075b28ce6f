"""Batches that have a result, newest first: kept as results come, so that no list is made anew."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable

FEW = 64
"""New names that are put in their places one by one; more are sorted in together."""


class BatchOrder:
    """Names of batches by start, the newest first, ties by name; any thread may ask."""

    def __init__(self) -> None:
        self.filled = False
        """Whether what a start finds on disk is in."""
        self._starts: dict[str, int] = {}
        self._keys: list[tuple[int, str]] = []
        self._fresh: list[tuple[int, str]] = []
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._starts)

    def fill(self, batches: Iterable[tuple[str, int]]) -> None:
        """Take in what is there at a start, as (name, start in ns)."""
        for name, start in batches:
            self.put(name, start)
        self.filled = True

    def put(self, name: str, start: int) -> None:
        """A batch has a result; one that begins at another time now is moved."""
        with self._turn:
            known = self._starts.get(name)
            if known == start:
                return
            if known is not None:
                self._remove((-known, name))
            self._starts[name] = start
            self._fresh.append((-start, name))

    def drop(self, name: str) -> None:
        """A batch is none any more."""
        with self._turn:
            known = self._starts.pop(name, None)
            if known is not None:
                self._remove((-known, name))

    def clear(self) -> None:
        """Forget everything."""
        with self._turn:
            self._starts, self._keys, self._fresh = {}, [], []
            self.filled = False

    def names(self, start: int, stop: int | None) -> list[str]:
        """Names from place `start` up to `stop`, None = all."""
        with self._turn:
            self._settle()
            return [name for _, name in self._keys[start:stop]]

    def _remove(self, key: tuple[int, str]) -> None:
        self._settle()
        del self._keys[bisect_left(self._keys, key)]

    def _settle(self) -> None:
        """Put what is new in its place."""
        if len(self._fresh) > FEW:
            self._keys += self._fresh
            self._keys.sort()
        else:
            for key in self._fresh:
                insort(self._keys, key)
        self._fresh = []
