"""What the InfluxDB tests share: an address with a database, a dump, a projector."""

from __future__ import annotations

import itertools

from ingest.influx_connection import InfluxConnection
from ingest.projector import Projector
from ingest.series_influx import InfluxStore
from mrv.series import Series, SeriesChunk, SeriesKey
from tests.ingest.test_receiver import SITE

KEY = SeriesKey("agent-1", "line-1", "m.energy")
NAMES = (f"faults-{n}" for n in itertools.count())


def open_store(address, **words):
    return InfluxStore.at(address, SITE, **words)


def dump(address):
    """All points of a database, as a reader sees them."""
    server = InfluxConnection(address)
    (found,) = server.query('SELECT * FROM "reading" GROUP BY *')
    server.close()
    return sorted(
        (
            sorted(series["tags"].items()),
            [dict(zip(series["columns"], row, strict=True)) for row in series["values"]],
        )
        for series in found
    )


def values(store, key=KEY):
    return list(store.read(key, 0, 2**62).v)


def chunk(rows, key=KEY):
    return SeriesChunk(key, Series([t for t, _ in rows], [v for _, v in rows], [1] * len(rows)))


def project(bench, store, folder, **words):
    return Projector(bench.journal, store, folder / "cursor.json", **words)
