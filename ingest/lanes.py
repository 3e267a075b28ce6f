"""Bounded queues, one an agent, that a single worker empties in turn.

Fair queueing after Nagle (RFC 970): every agent with something waiting is served one message a
round, so an agent that sends much waits for itself and not before the others. Whoever puts into a
full lane waits there; as each agent is read from a connection of its own, that wait reaches only
its own connection.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

LANE_MESSAGES = 1000
"""Messages of one agent that may wait for the worker."""
LANE_BYTES = 16_000_000
"""Bytes of one agent that may wait."""
TOTAL_BYTES = 256_000_000
"""Bytes of all agents that may wait; beyond it only an agent with nothing waiting gets in."""
SPARE_BYTES = 64_000_000
"""Bytes for those: a stranger may give each message the name of another agent."""
ITEM_BYTES = 500
"""Bytes an item takes beside its payload, about."""

T = TypeVar("T")


class _Lane(Generic[T]):
    """What one agent has waiting."""

    __slots__ = ("bytes", "items", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: deque[tuple[T, int]] = deque()
        self.bytes = 0


class Lanes(Generic[T]):
    """Lanes by name. Any thread may put; one takes. A lane exists while something is in it."""

    def __init__(
        self,
        lane_messages: int = LANE_MESSAGES,
        lane_bytes: int = LANE_BYTES,
        total_bytes: int = TOTAL_BYTES,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self._lane_messages = lane_messages
        self._lane_bytes = lane_bytes
        self._total_bytes = total_bytes
        self._most_bytes = total_bytes + spare_bytes
        self._lanes: dict[str, _Lane[T]] = {}
        self._turn: deque[_Lane[T]] = deque()
        self._count = 0
        self._bytes = 0
        self._closed = False
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._room = threading.Condition(lock)

    def _fits(self, name: str, size: int) -> bool:
        lane = self._lanes.get(name)
        held = self._bytes + ITEM_BYTES * self._count + size
        if lane is None:
            return not self._count or held <= self._most_bytes
        return (
            len(lane.items) < self._lane_messages
            and lane.bytes + size <= self._lane_bytes
            and held <= self._total_bytes
        )

    def put(self, name: str, item: T, size: int) -> bool:
        """Queue an item of `size` bytes, waiting while the lane is full; False once closed."""
        while (taken := self.put_some(name, [(item, size)], None)) == 0:
            pass
        return taken is not None

    def put_some(
        self, name: str, items: Sequence[tuple[T, int]], patience: float | None
    ) -> int | None:
        """Queue items with their bytes in order, as many as the lane has room for; how many.

        Waits for room for the first one, `patience` s at the most; None once closed.
        """
        with self._filled:
            if not self._closed and not self._fits(name, items[0][1]):
                self._room.wait(patience)
            if self._closed:
                return None
            lane, before = self._lanes.get(name), self._count
            for item, size in items:
                if not self._fits(name, size):
                    break
                if lane is None:
                    lane = self._lanes[name] = _Lane(name)
                    self._turn.append(lane)
                lane.items.append((item, size))
                lane.bytes += size
                self._bytes += size
                self._count += 1
            count = self._count - before
            if before < 2 and count:  # the worker waits for the first, and a moment for a second
                self._filled.notify()
        return count

    def take(self, most: int, idle: float, share: float) -> list[T] | None:
        """Up to `most` items, one of each lane in turn; None once closed.

        Waits `idle` s for the first ([] where none comes) and `share` s for company to a lone one.
        """
        with self._filled:
            if not self._count and not self._closed:
                self._filled.wait(idle)
            if self._count == 1 and not self._closed:
                self._filled.wait(share)
            if self._closed:
                return None
            group: list[T] = []
            while self._turn and len(group) < most:
                lane = self._turn.popleft()
                item, size = lane.items.popleft()
                lane.bytes -= size
                self._bytes -= size
                group.append(item)
                if lane.items:
                    self._turn.append(lane)
                else:
                    del self._lanes[lane.name]
            self._count -= len(group)
            self._room.notify_all()
        return group

    def __len__(self) -> int:
        return self._count

    def waiting(self) -> dict[str, int]:
        """Messages that wait, by lane."""
        with self._filled:
            return {name: len(lane.items) for name, lane in self._lanes.items()}

    def close(self) -> None:
        """Wake everybody; nothing is put or taken afterwards."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            self._room.notify_all()
