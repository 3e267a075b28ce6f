"""Whether the leaves of the entries lead to the roots the journal keeps and has signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mrv.verification.merkle import BLOCK, HASH_BYTES, Frontier

ALTERED = "is not what was entered"

Say = Callable[..., None]
"""Told a fault: what, first and last entry, cold file."""


class Seen(NamedTuple):
    """An entry as it was found."""

    kind: int
    salt: bytes
    note: bytes
    leaf: bytes
    """Recomputed."""
    kept: bytes
    """Leaf hash that stands beside it, or the first bytes of it."""
    file: str = ""
    """Cold file it stands in."""


class TreeCheck:
    """Builds the tree again, block by block, and names the entries that do not fit into it."""

    def __init__(self, root: bytes, checkpoint: tuple[int, bytes] | None, say: Say) -> None:
        self._root = root
        self._checkpoint = checkpoint
        self._say = say
        self._upper = Frontier()
        self._tail = Frontier()

    @property
    def holds(self) -> bool:
        """Whether all leaves lead to the kept root."""
        return self._with_tail(self._tail) == self._root

    def take(self, first: int, last: int, seen: dict[int, Seen | None], root: bytes | None) -> None:
        """Compare the leaves of a block with its root in the tree; None = it is not known.

        A last block that is not full has no root of its own: `root` is not asked for.
        """
        found = [seen.get(index) for index in range(first, last + 1)]
        full = last - first + 1 == BLOCK
        differing = [
            (first + place, item)
            for place, item in enumerate(found)
            if item is not None and not item.leaf.startswith(item.kept)
        ]
        whole = [item for item in found if item is not None]
        mine = _frontier([item.leaf for item in whole])
        wanted = root if full else self._root
        reached = mine.root() if full else self._with_tail(mine)
        right = len(whole) == len(found) and reached == wanted
        for index, item in differing:
            what = "is what was entered, the hash beside it is not" if right else ALTERED
            self._say(what, index, index, item.file)
        if full and not right and root is not None and not differing and len(whole) == len(found):
            self._say("the leaves do not lead to the root of their block", first, last)
            root = None
        if right or not (differing or len(whole) < len(found)):
            self._mark(first, [item.leaf for item in whole])
        elif full and root is not None and self._checkpoint and self._checkpoint[0] == last + 1:
            self._mark(first, [], root)
        if not full:
            kept = [item.kept if len(item.kept) == HASH_BYTES else item.leaf for item in whole]
            self._tail = mine if right or not differing else _frontier(kept)
        elif right or root is None:
            self._upper.append(mine.root() if len(whole) == len(found) else bytes(HASH_BYTES))
        else:
            self._upper.append(root)

    def _with_tail(self, tail: Frontier) -> bytes:
        """Root with the leaves after the last whole block."""
        size = self._upper.size * BLOCK + tail.size
        return Frontier(size, (*self._upper.nodes, *tail.nodes)).root()

    def _mark(self, first: int, leaves: list[bytes], root: bytes | None = None) -> None:
        """Compare with the signed checkpoint where it ends among these leaves, or with their root.

        A block that is altered counts as the tree has it: its entries are named already.
        """
        stop = first + (BLOCK if root is not None else len(leaves))
        if self._checkpoint is None or not first < self._checkpoint[0] <= stop:
            return
        size, signed = self._checkpoint
        part = _frontier(leaves[: size - first])
        if size - first == BLOCK:
            upper = Frontier(self._upper.size, self._upper.nodes)
            upper.append(part.root() if root is None else root)
            reached = upper.root()
        else:
            reached = Frontier(size, (*self._upper.nodes, *part.nodes)).root()
        if reached != signed:
            self._say(f"the first {size} entries do not lead to the signed checkpoint's root")


def _frontier(leaves: Sequence[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier
