"""Several index parts as one, some streams after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.index_part import (
    FIELDS,
    SCHEMA,
    decoded,
    identities,
    opened,
    read_group,
    read_meta,
    rows_of,
    write_tables,
)
from mrv.reporting.clock_watch import ClockWatch

MERGE_ROWS = 200_000
"""Links merged at once, about."""


def merge_parts(file: BinaryIO, paths: Sequence[Path]) -> None:
    """Write one index part that says what several say, some streams after the other.

    Raises MeterprintError where one cannot be read.
    """
    metas = [read_meta(path) for path in paths]
    files = [opened(path) for path in paths]
    try:
        tables = _merged_tables(files, paths, [meta["links"] for meta in metas])
        write_tables(file, tables, _merged_meta(metas))
    finally:
        for one in files:
            one.close()


def _merged_tables(
    files: Sequence[Any], paths: Sequence[Path], listed: Sequence[Any]
) -> Iterator[Any]:
    """Links of a few streams at a time, sorted."""
    counts = [{(row[0], row[1]): int(row[2]) for row in rows} for rows in listed]
    at = [0] * len(files)
    for places in _shares(counts):
        tables = []
        for number, file in enumerate(files):
            size = sum(counts[number].get(place, 0) for place in places)
            if size:
                read = partial(read_group, file, paths[number])
                tables.append(rows_of(file, at[number], size, read))
                at[number] += size
        yield _sorted(pa.concat_tables(tables).combine_chunks())


def _shares(counts: Sequence[Mapping[tuple[str, str], int]]) -> Iterator[list[tuple[str, str]]]:
    """Streams in order, as many at a time as have few links together."""
    share: list[tuple[str, str]] = []
    rows = 0
    for place in sorted({place for known in counts for place in known}):
        size = sum(known.get(place, 0) for known in counts)
        if share and rows + size > MERGE_ROWS:
            yield share
            share, rows = [], 0
        share.append(place)
        rows += size
    if share:
        yield share


def _sorted(table: Any) -> Any:
    """Links of several parts, each sorted, in one order; `prev` null where it is the row before."""
    table = table.unify_dictionaries().combine_chunks()
    keys = ("agent", "stream", "epoch", "seq", "identity")
    plain = pa.table({key: decoded(table[key]) for key in keys})
    order = pc.sort_indices(plain, sort_keys=[(key, "ascending") for key in keys]).to_numpy()
    names = identities(table["identity"])
    prev = table["prev"].to_pylist()
    table = table.take(pa.array(order))
    now = [prev[row] for row in order.tolist()]
    apart = np.append(True, order[1:] != order[:-1] + 1)
    stated = np.fromiter((name is not None for name in now), bool, len(now))
    for row in np.flatnonzero(apart & ~stated).tolist():
        now[row] = bytes(names[order[row] - 1]).hex().encode()
    for row in np.flatnonzero(_follows(table) & (apart | stated)).tolist():
        if now[row] == bytes(names[order[row - 1]]).hex().encode():
            now[row] = None
    place = table.schema.get_field_index("prev")
    return table.set_column(place, FIELDS[place], pa.array(now, pa.binary())).cast(SCHEMA)


def _follows(table: Any) -> Any:
    """Whether a row has the number after that of the row before, in the same epoch of a stream."""
    seq = table["seq"].to_numpy()
    follows = np.append(False, seq[1:] == seq[:-1] + 1)
    for name in ("agent", "stream", "epoch"):
        codes = table[name].combine_chunks().indices.to_numpy()
        follows[1:] &= codes[1:] == codes[:-1]
    return follows


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
