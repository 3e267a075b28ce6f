"""A block of chain links in columns: what completeness needs of the envelopes of one stream.

A million envelopes as objects take half a gigabyte; in columns they take a quarter of that, come
from disk in one read, and a walk along an unbroken run is one search.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.index_part import HASH_BYTES, STOPS, TRUSTED, identities
from ingest.segment_rows import place_of
from mrv.reporting.completeness import CLOCK_STEP_NS, ChainLink

Closing = tuple[bool, int, int, str, int]
"""(doubted, t_last, seq, identity, row) of a link that reaches a moment."""


class Names:
    """A column of names as numbers."""

    def __init__(self, column: Any) -> None:
        coded = column.combine_chunks()
        used, self.codes = np.unique(coded.indices.to_numpy(), return_inverse=True)
        self.known: list[str] = coded.dictionary.take(pa.array(used)).to_pylist()

    def __getitem__(self, row: int) -> str:
        return self.known[int(self.codes[row])]

    def of(self, rows: Any) -> list[str]:
        """The names of some rows (int array)."""
        known = self.known
        return [known[code] for code in self.codes[rows].tolist()]

    def among(self, names: Collection[str]) -> Any:
        """Of each row, whether its name is one of these."""
        wanted = np.array([name in names for name in self.known])
        return wanted[self.codes]


class LinkBlock:
    """Links of one stream out of one index part."""

    def __init__(self, table: Any) -> None:
        self._agent, self._stream = table["agent"][0].as_py(), table["stream"][0].as_py()
        self._epoch, self._boot = Names(table["epoch"]), Names(table["boot"])
        self.seq = table["seq"].to_numpy()
        self._identity = identities(table["identity"])
        prev = table["prev"].combine_chunks()
        self.breaks = np.flatnonzero(prev.is_valid().to_numpy(zero_copy_only=False))
        self._stated = dict(zip(self.breaks.tolist(), prev.drop_null().to_pylist(), strict=True))
        self.t_first = table["t_first"].to_numpy()
        self.t_last = table["t_last"].to_numpy()
        self._t = table["t"].to_numpy()
        self._mono = table["mono"].to_numpy()
        self._flags = table["flags"].to_numpy()

    @cached_property
    def _ends(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """Rows by their end, and those ends: of links whose clock was trusted, and of all."""
        by_end = np.lexsort((self.seq, self.t_last))
        vouched = by_end[(self._flags[by_end] & TRUSTED) > 0]
        return (vouched, self.t_last[vouched]), (by_end, self.t_last[by_end])

    @cached_property
    def _marks(self) -> tuple[Any, Any]:
        """Rows by the first eight bytes of their identity, and those bytes."""
        prefix = np.ascontiguousarray(self._identity[:, :8]).view(np.uint64).ravel()
        by_name = np.argsort(prefix)
        return by_name, prefix[by_name]

    def __len__(self) -> int:
        return len(self.seq)

    def row_of(self, identity: str) -> int | None:
        """Row of an envelope, None where it is not in here."""
        try:
            name = np.frombuffer(bytes.fromhex(identity), np.uint8)
        except ValueError:
            return None
        if len(name) != HASH_BYTES:
            return None
        wanted = np.ascontiguousarray(name[:8]).view(np.uint64)[0]
        by_name, marks = self._marks
        place = int(np.searchsorted(marks, wanted))
        while place < len(marks) and marks[place] == wanted:
            row = int(by_name[place])
            if bool((self._identity[row] == name).all()):
                return row
            place += 1
        return None

    def prev(self, row: int) -> str:
        """Identity of the envelope before."""
        stated: bytes | None = self._stated.get(row)
        return bytes(self._identity[row - 1]).hex() if stated is None else stated.decode()

    def link(self, row: int) -> ChainLink:
        """The link of a row; its agent and stream are the block's."""
        flags = int(self._flags[row])
        return ChainLink(
            agent=self._agent,
            stream=self._stream,
            epoch=self._epoch[row],
            seq=int(self.seq[row]),
            identity=bytes(self._identity[row]).hex(),
            prev=self.prev(row),
            t_first=int(self.t_first[row]),
            t_last=int(self.t_last[row]),
            trusted=bool(flags & TRUSTED),
            stops=bool(flags & STOPS),
            t=int(self._t[row]),
            mono=int(self._mono[row]),
            boot=self._boot[row],
        )

    def links(self, rows: Any) -> list[ChainLink]:
        """The links of some rows (int array), as `link` has them."""
        flags = self._flags[rows]
        names = self._names(rows)
        return [
            ChainLink(self._agent, self._stream, *one)
            for one in zip(
                self._epoch.of(rows),
                self.seq[rows].tolist(),
                names,
                self._prevs(rows.tolist(), names),
                self.t_first[rows].tolist(),
                self.t_last[rows].tolist(),
                ((flags & TRUSTED) > 0).tolist(),
                ((flags & STOPS) > 0).tolist(),
                self._t[rows].tolist(),
                self._mono[rows].tolist(),
                self._boot.of(rows),
                strict=True,
            )
        ]

    def _names(self, rows: Any) -> list[str]:
        """Identities of some rows."""
        data, size = self._identity[rows].tobytes().hex(), 2 * HASH_BYTES
        return [data[place : place + size] for place in range(0, len(data), size)]

    def _prevs(self, rows: Sequence[int], names: Sequence[str]) -> list[str]:
        """Identities of the envelopes before those of some rows."""
        found, last = [], -1
        for place, row in enumerate(rows):
            follows = row - 1 == last and row not in self._stated
            found.append(names[place - 1] if follows and place else self.prev(row))
            last = row
        return found

    def closing(self, end: int) -> Closing | None:
        """The first link that reaches `end`.

        One whose clock was trusted goes before all others.
        """
        for by_end, ends in self._ends:
            place = place_of(ends, end)
            if place < len(ends):
                return self._first_of_alike(by_end, place)
        return None

    def lower_end(self, end: int) -> int:
        """Latest end below `end` of a link whose clock was trusted, ns; 0 = there is none."""
        ends = self._ends[0][1]
        place = place_of(ends, end)
        return int(ends[place - 1]) if place else 0

    def _first_of_alike(self, by_end: Any, place: int) -> Closing:
        """Of the links at `place` and those of the same end and number, the one named first."""
        row = int(by_end[place])
        doubted = not self._flags[row] & TRUSTED
        key = doubted, int(self.t_last[row]), int(self.seq[row])
        found = (*key, self._name(row), row)
        for other in by_end[place + 1 :]:
            if (self.t_last[other], self.seq[other]) != key[1:]:
                break
            found = min(found, (*key, self._name(int(other)), int(other)))
        return found

    def _name(self, row: int) -> str:
        return bytes(self._identity[row]).hex()

    def begun(self, moment: int) -> int:
        """Number of links that begin at or before a moment, ns."""
        return int(np.count_nonzero(self.t_first <= moment))

    def run_start(self, row: int) -> int:
        """First row of the unbroken run that `row` is in."""
        return int(self.breaks[np.searchsorted(self.breaks, row, side="right") - 1])

    def back_to(self, row: int, first: int) -> int | None:
        """The last row at or before `row`, in its run, that starts at or before `first`."""
        start, stop = self.run_start(row), row + 1
        while stop > start:
            low = max(start, stop - 4096)
            hits = np.flatnonzero(self.t_first[low:stop] <= first)
            if len(hits):
                return low + int(hits[-1])
            stop = low
        return None

    def wanted(self, start: int, end: int) -> dict[str, tuple[int, int]]:
        """Lowest and highest number, by epoch, of links with readings in [start, end]."""
        rows = np.flatnonzero((self.t_last >= start) & (self.t_first <= end))
        codes, seq = self._epoch.codes[rows], self.seq[rows]
        found: dict[str, tuple[int, int]] = {}
        for code in np.unique(codes).tolist():
            mine = seq[codes == code]
            found[self._epoch.known[code]] = (int(mine.min()), int(mine.max()))
        return found

    def of_epochs(self, ranges: Mapping[str, tuple[int, int]]) -> list[ChainLink]:
        """Links whose number lies in the range of their epoch."""
        wanted = np.zeros(len(self), bool)
        for epoch, (low, high) in ranges.items():
            wanted |= self._epoch.among([epoch]) & (self.seq >= low) & (self.seq <= high)
        return self.links(np.flatnonzero(wanted))

    def of_boots(self, boots: Collection[str]) -> list[ChainLink]:
        """Links of some boots."""
        return self.links(np.flatnonzero(self._boot.among(boots)))

    def at(self, epoch: str, seq: int) -> list[ChainLink]:
        """Links of a place; two where the agent equivocated."""
        rows = np.flatnonzero((self.seq == seq) & self._epoch.among([epoch]))
        return [self.link(row) for row in rows.tolist()]

    def steps(self) -> list[tuple[ChainLink, int]]:
        """Clock steps inside the block's runs: see `mrv.reporting.completeness.clock_steps`."""
        moved = np.diff(self._t) - np.diff(self._mono)
        rows = (np.flatnonzero(np.abs(moved) > CLOCK_STEP_NS) + 1).tolist()
        return [
            (self.link(row), int(moved[row - 1]))
            for row in rows
            if row not in self._stated
            and self._boot[row]
            and self._boot[row] == self._boot[row - 1]
        ]

    def followed(self, identity: str) -> bool:
        """Whether a row of a run follows the envelope."""
        row = self.row_of(identity)
        return row is not None and row + 1 < len(self) and row + 1 not in self._stated

    def loose(self) -> list[ChainLink]:
        """Links that do not follow the row before them."""
        return self.links(self.breaks)
