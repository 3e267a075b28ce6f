"""A block of chain links in columns: what completeness needs of the envelopes of one stream.

A million envelopes as objects take half a gigabyte; in columns they take a tenth, come from disk
in one read, and a walk along an unbroken run is one search.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.segment import place_of
from mrv.reporting.clock_watch import ClockWatch
from mrv.reporting.completeness import CLOCK_STEP_NS, ChainLink

HASH_BYTES = 32
"""Length of an identity, bytes."""
TRUSTED, STOPS = 1, 2
"""Bits of `flags`."""
_FIELDS: Any = [
    pa.field("agent", pa.dictionary(pa.int32(), pa.string())),
    pa.field("stream", pa.dictionary(pa.int32(), pa.string())),
    pa.field("epoch", pa.dictionary(pa.int32(), pa.string())),
    pa.field("boot", pa.dictionary(pa.int32(), pa.string())),
    pa.field("seq", pa.int64()),
    pa.field("identity", pa.binary(HASH_BYTES)),
    pa.field("prev", pa.binary()),
    pa.field("t_first", pa.int64()),
    pa.field("t_last", pa.int64()),
    pa.field("t", pa.int64()),
    pa.field("mono", pa.int64()),
    pa.field("flags", pa.int8()),
]
SCHEMA = pa.schema(_FIELDS)
"""Columns, sorted by (agent, stream, epoch, seq, identity); `prev` null = the row before."""
META = b"meterprint.index"
"""Metadata key of everything else an index part says."""
ROW_GROUP = 32_768
DELTAS = ("seq", "t_first", "t_last", "t", "mono")
"""Columns kept as differences."""


def render_links(chains: Mapping[tuple[str, str], Sequence[ChainLink]], meta: Any) -> bytes:
    """Bytes of an index part: the links of each (agent, stream), and its metadata."""
    columns: dict[str, list[Any]] = {field.name: [] for field in _FIELDS}
    for (agent, stream), links in sorted(chains.items()):
        before: ChainLink | None = None
        for link in sorted(links, key=lambda item: (item.epoch, item.seq, item.identity)):
            follows = before is not None and (before.epoch, before.seq + 1, before.identity) == (
                link.epoch,
                link.seq,
                link.prev,
            )
            values = (
                agent,
                stream,
                link.epoch,
                link.boot,
                link.seq,
                bytes.fromhex(link.identity),
                None if follows else link.prev.encode(),
                link.t_first,
                link.t_last,
                link.t,
                link.mono,
                TRUSTED * link.trusted | STOPS * link.stops,
            )
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
            before = link
    arrays = [pa.array(columns[field.name], field.type) for field in _FIELDS]
    return _render(pa.Table.from_arrays(arrays, schema=SCHEMA), meta)


def _render(table: Any, meta: Any) -> bytes:
    table = table.replace_schema_metadata({META: json.dumps(meta).encode()})
    sink = pa.BufferOutputStream()
    options: Any = {
        "compression": "zstd",
        "row_group_size": ROW_GROUP,
        "use_dictionary": ["agent", "stream", "epoch", "boot", "flags"],
        "column_encoding": dict.fromkeys(DELTAS, "DELTA_BINARY_PACKED"),
        "write_page_checksum": True,
    }
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue().to_pybytes())


def merge_parts(paths: Sequence[Any]) -> bytes:
    """Bytes of one index part that says what several say."""
    tables = [pq.read_table(path) for path in paths]
    metas = [json.loads(table.schema.metadata[META]) for table in tables]
    table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables]).unify_dictionaries()
    keys = ("agent", "stream", "epoch", "seq", "identity")
    plain = pa.table({k: _decoded(table[k]) for k in keys})
    order = pc.sort_indices(plain, sort_keys=[(k, "ascending") for k in keys]).to_numpy()
    table = table.take(pa.array(order))
    identities = table["identity"].to_pylist()
    names = dict(zip(order.tolist(), identities, strict=True))
    prev = table["prev"].to_pylist()
    apart = np.append(True, order[1:] != order[:-1] + 1)
    for row in np.flatnonzero(apart):
        if prev[row] is None:
            prev[row] = names[int(order[row]) - 1].hex().encode()
    table = table.set_column(
        table.schema.get_field_index("prev"), _FIELDS[6], pa.array(prev, pa.binary())
    )
    return _render(table.combine_chunks(), _merged_meta(metas))


def _decoded(column: Any) -> Any:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _merged_meta(metas: Sequence[Any]) -> Any:
    links: dict[tuple[str, str], list[Any]] = {}
    for meta in metas:
        for agent, stream, count, low, high, epochs in meta["links"]:
            held = links.setdefault((agent, stream), [agent, stream, 0, low, high, {}])
            held[2] += count
            held[3], held[4] = min(held[3], low), max(held[4], high)
            for epoch, seq in epochs:
                held[5][epoch] = max(held[5].get(epoch, 0), seq)
    tags: dict[tuple[str, ...], list[Any]] = {}
    for meta in metas:
        for *place, low, high in meta["tags"]:
            known = tags.setdefault(tuple(place), [*place, low, high])
            known[4], known[5] = min(known[4], low), max(known[5], high)
    late: dict[tuple[str, str], list[Any]] = {}
    for meta in metas:
        for agent, stream, count, since in meta["late"]:
            held = late.setdefault((agent, stream), [agent, stream, 0, since])
            held[2], held[3] = held[2] + count, min(held[3], since)
    return {
        "clocks": _merged_clocks(metas),
        "late": [late[place] for place in sorted(late)],
        "readings": sum(meta["readings"] for meta in metas),
        "links": [[*held[:5], sorted(held[5].items())] for _, held in sorted(links.items())],
        "tags": [tags[place] for place in sorted(tags)],
        **{
            name: [
                list(row) for row in sorted({tuple(row) for m in metas for row in m.get(name, ())})
            ]
            for name in (
                "sources",
                "gaps",
                "lengths",
                "equivocations",
                "tables",
                "unreadable",
            )
        },
    }


def _merged_clocks(metas: Sequence[Any]) -> list[list[Any]]:
    """One row a boot: [agent, stream, boot, the numbers of its `BootClock`]."""
    watches: dict[tuple[str, str], ClockWatch] = {}
    for meta in metas:
        for agent, stream, boot, *numbers in meta.get("clocks", ()):
            watches.setdefault((agent, stream), ClockWatch()).merge(boot, map(int, numbers))
    return [
        [*place, boot, *clock.numbers()]
        for place, watch in sorted(watches.items())
        for boot, clock in sorted(watch.boots.items())
    ]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a stream an index part holds, known without reading its links."""

    count: int
    """Links."""
    t_min: int
    """Earliest reading or event, ns UTC."""
    t_max: int
    """Latest one, ns UTC."""
    epochs: tuple[tuple[str, int], ...]
    """Epochs with their highest number."""


def extents(chains: Mapping[tuple[str, str], Sequence[ChainLink]]) -> list[list[Any]]:
    """Extents as the metadata carry them: [agent, stream, count, t_min, t_max, epochs]."""
    found = []
    for (agent, stream), links in sorted(chains.items()):
        if links:
            epochs: dict[str, int] = {}
            for link in links:
                epochs[link.epoch] = max(epochs.get(link.epoch, 0), link.seq)
            low, high = min(x.t_first for x in links), max(x.t_last for x in links)
            found.append([agent, stream, len(links), low, high, sorted(epochs.items())])
    return found


def read_meta(path: Any) -> Any:
    """Metadata of an index part."""
    return json.loads(pq.read_schema(path).metadata[META])


class LinkBlock:
    """Links of one stream out of one index part."""

    def __init__(self, table: Any) -> None:
        self._agent, self._stream = table["agent"][0].as_py(), table["stream"][0].as_py()
        self._epoch = _texts(table["epoch"])
        self._boot = _texts(table["boot"])
        self.seq = table["seq"].to_numpy()
        self._identity = np.frombuffer(b"".join(table["identity"].to_pylist()), np.uint8).reshape(
            -1, HASH_BYTES
        )
        self._prev: list[bytes | None] = table["prev"].to_pylist()
        self.t_first = table["t_first"].to_numpy()
        self.t_last = table["t_last"].to_numpy()
        self._t = table["t"].to_numpy()
        self._mono = table["mono"].to_numpy()
        self._flags = table["flags"].to_numpy()
        self.breaks = np.array([i for i, p in enumerate(self._prev) if p is not None], np.int64)
        self._by_end = np.lexsort((self.seq, self.t_last))
        self._ends = self.t_last[self._by_end]
        vouched = (self._flags[self._by_end] & TRUSTED) > 0
        self._trusted_by_end, self._trusted_ends = self._by_end[vouched], self._ends[vouched]
        prefix = np.ascontiguousarray(self._identity[:, :8]).view(np.uint64).ravel()
        self._by_name = np.argsort(prefix)
        self._names = prefix[self._by_name]

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
        place = int(np.searchsorted(self._names, wanted))
        while place < len(self._names) and self._names[place] == wanted:
            row = int(self._by_name[place])
            if bool((self._identity[row] == name).all()):
                return row
            place += 1
        return None

    def prev(self, row: int) -> str:
        """Identity of the envelope before."""
        held = self._prev[row]
        return bytes(self._identity[row - 1]).hex() if held is None else held.decode()

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

    def closing(self, end: int) -> tuple[bool, int, int, str, int] | None:
        """(doubted, t_last, seq, identity, row) of the first link that reaches `end`.

        One whose clock was trusted goes before all others.
        """
        for by_end, ends in (
            (self._trusted_by_end, self._trusted_ends),
            (self._by_end, self._ends),
        ):
            place = place_of(ends, end)
            if place < len(ends):
                return self._first_of_alike(by_end, place)
        return None

    def _first_of_alike(self, by_end: Any, place: int) -> tuple[bool, int, int, str, int]:
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
        found: dict[str, tuple[int, int]] = {}
        for row in rows:
            epoch, seq = self._epoch[row], int(self.seq[row])
            low, high = found.get(epoch, (seq, seq))
            found[epoch] = (min(low, seq), max(high, seq))
        return found

    def of_epochs(self, ranges: Mapping[str, tuple[int, int]]) -> list[ChainLink]:
        """Links whose number lies in the range of their epoch."""
        found = []
        for row in range(len(self)):
            bounds = ranges.get(self._epoch[row])
            if bounds is not None and bounds[0] <= self.seq[row] <= bounds[1]:
                found.append(self.link(row))
        return found

    def of_boots(self, boots: Collection[str]) -> list[ChainLink]:
        """Links of some boots."""
        return [self.link(int(i)) for i in np.flatnonzero(np.isin(self._boot, list(boots)))]

    def at(self, epoch: str, seq: int) -> list[ChainLink]:
        """Links of a place; two where the agent equivocated."""
        return [
            self.link(int(i)) for i in np.flatnonzero(self.seq == seq) if self._epoch[i] == epoch
        ]

    def steps(self) -> list[tuple[ChainLink, int]]:
        """Clock steps inside the block's runs: see `mrv.reporting.completeness.clock_steps`."""
        moved = np.diff(self._t) - np.diff(self._mono)
        rows = np.flatnonzero(np.abs(moved) > CLOCK_STEP_NS) + 1
        return [
            (self.link(int(row)), int(moved[row - 1]))
            for row in rows
            if self._prev[row] is None
            and self._boot[row]
            and self._boot[row] == self._boot[row - 1]
        ]

    def followed(self, identity: str) -> bool:
        """Whether a row of a run follows the envelope."""
        row = self.row_of(identity)
        return row is not None and row + 1 < len(self) and self._prev[row + 1] is None

    def loose(self) -> list[ChainLink]:
        """Links that do not follow the row before them."""
        return [self.link(int(row)) for row in self.breaks]


def _texts(column: Any) -> Any:
    return np.array(_decoded(column).to_pylist(), object)


def read_blocks(path: Any, first: int, count: int) -> LinkBlock:
    """Rows [first, first + count) of an index part as a block."""
    file = pq.ParquetFile(path)
    start, groups = 0, []
    offset = None
    for number in range(file.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        if start < first + count and start + rows > first:
            groups.append(number)
            offset = start if offset is None else offset
        start += rows
    table = file.read_row_groups(groups).slice(first - (offset or 0), count)
    return LinkBlock(table)
