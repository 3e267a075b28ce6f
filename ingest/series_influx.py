"""InfluxDB as a series store: a view of the readings that is written in bulk and never waited for.

A reading is a point of the measurement `reading`; its key is site, agent, stream, channel and
signed time, so writing it again changes nothing. Epoch and batch are never tags. A reading whose
time may be taken already is joined with what is there, so twins stand side by side in one point
(`line_protocol`), the same whatever came first. Integers beyond 2⁵³ are exact by the field `low`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ingest.claimed_spans import ClaimedSpans
from ingest.influx_answers import key_of, points_in, stretches
from ingest.influx_connection import (
    TIMEOUT_S,
    Grade,
    InfluxAddress,
    InfluxConnection,
    named,
    quoted,
)
from ingest.influx_halving import Halving
from ingest.influx_owed import Owed
from ingest.line_protocol import (
    TWINS,
    Row,
    decode_name,
    encode_name,
    head,
    lines,
    point,
    rows_in,
    rows_of,
    split_head,
)
from ingest.park import Park
from mrv.errors import InputError
from mrv.series import Series, SeriesChunk, SeriesKey

MEASUREMENT = "reading"
MARK = "meterprint_view"
"""Measurement in which a view remembers how far it is: a point a day and site."""
DAY_NS = 86_400 * 10**9
BATCH = 5000
"""Lines of one write (InfluxDB's advice for 1.x and 2.x)."""
STATEMENTS = 50
"""Statements of one query."""

Held = dict[SeriesKey, dict[int, set[Row]]]
"""Rows by channel and time."""


class InfluxStore:
    """One site's readings in one database of an InfluxDB."""

    def __init__(
        self,
        url: str,
        database: str,
        site: str,
        username: str = "",
        password: str = "",
        *,
        token: str = "",
        org: str = "meterprint",
        park: Park | None = None,
        owed: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`owed` is a file for what was deleted and has to be written again.

        Raises MeterprintError where it cannot be read.
        """
        address = InfluxAddress(
            url, database, org=org, username=username, password=password, token=token
        )
        self._server = InfluxConnection(address, timeout_s)
        self._site = site
        self._mine = f'"site"={quoted(encode_name(site))}'
        self.park = park or Park()
        """What the server refused for good."""
        self._heads: dict[SeriesKey, str] = {}
        self._claimed: dict[SeriesKey, ClaimedSpans] = {}
        self._learned = False
        self._owed = Owed(owed)

    @classmethod
    def at(
        cls,
        address: InfluxAddress,
        site: str,
        park: Park | None = None,
        timeout_s: float = TIMEOUT_S,
        *,
        owed: Path | None = None,
    ) -> InfluxStore:
        """The store of a site at an address."""
        return cls(
            address.url,
            address.database,
            site,
            address.username,
            address.password,
            token=address.token,
            org=address.org,
            park=park,
            owed=owed,
            timeout_s=timeout_s,
        )

    @property
    def pending(self) -> int:
        """0: a write is durable when it is answered."""
        return 0

    def append(self, chunks: Sequence[SeriesChunk]) -> None:
        """Write readings. Raises InfluxError where the server does not take them now.

        A line the server will never take is parked with its reason; the others go in.
        """
        self._learn()
        self._pay()
        parked = self.park.total
        fresh: list[str] = []
        suspects: Held = {}
        for chunk in chunks:
            series, times = chunk.series, chunk.series.t
            if not len(times):
                continue
            try:
                start = self._head(chunk.key)
            except InputError as error:
                texts = [str(chunk.key)]
                self.park.add(texts, Grade.PARSE, str(error), count=len(times))
                continue
            free = self._claim(chunk.key, min(times), max(times))
            if free and len(set(times)) == len(times):
                fresh += lines(start, series)
            else:
                held = suspects.setdefault(chunk.key, {})
                for t, row in rows_of(series):
                    held.setdefault(t, set()).add(row)
        try:
            self._send_all(fresh)
            self._send_all(self._joined(suspects))
        finally:
            if self.park.total != parked:
                self.park.save()

    def _head(self, key: SeriesKey) -> str:
        start = self._heads.get(key)
        if start is None:
            start = self._heads[key] = head(MEASUREMENT, self._tags(key))
        return start

    def _tags(self, key: SeriesKey) -> dict[str, str]:
        return {
            "agent": key.agent,
            "channel": key.channel,
            "site": self._site,
            "stream": key.stream,
        }

    def _claim(self, key: SeriesKey, low: int, high: int) -> bool:
        spans = self._claimed.get(key)
        if spans is None:
            spans = self._claimed[key] = ClaimedSpans()
        return spans.claim(low, high)

    def _learn(self) -> None:
        """Ask once up to where each channel has points: what is older may be taken already."""
        if self._learned:
            return
        where = (
            f'WHERE "site"={quoted(encode_name(self._site))} GROUP BY "agent","stream","channel"'
        )
        fields = ("value", "failed")
        text = ";".join(f'SELECT last("{f}") FROM "{MEASUREMENT}" {where}' for f in fields)  # noqa: S608
        last: dict[SeriesKey, int] = {}
        answers = self._server.query(text, statements=len(fields))
        with self._server.understood():
            for series in chain.from_iterable(answers):
                key = key_of({name: decode_name(text) for name, text in series["tags"].items()})
                last[key] = max(last.get(key, 0), int(series["values"][0][0]))
        self._claimed = {key: ClaimedSpans(t) for key, t in last.items()}
        self._learned = True

    def _joined(self, suspects: Held) -> list[str]:
        """Lines of the points that are not yet what they must be."""
        made = []
        for key, low, high, there in self._there(suspects):
            for t, mine in suspects[key].items():
                if not low <= t <= high:
                    continue
                known = there.get(t, set())
                rows = sorted(mine | known, reverse=True)
                if set(rows[:TWINS]) != known:
                    made.append(point(self._head(key), t, rows))
                if len(rows) > TWINS:
                    reason = f"more than {TWINS} readings of one channel and time"
                    self.park.add([], Grade.TWINS, reason, count=len(rows) - TWINS)
        return made

    def _there(self, held: Held) -> Iterator[tuple[SeriesKey, int, int, dict[int, set[Row]]]]:
        """(channel, first time, last time, rows by time) of what the server has around these."""
        spans = [(key, *span) for key, times in held.items() for span in stretches(times)]
        for start in range(0, len(spans), STATEMENTS):
            some = spans[start : start + STATEMENTS]
            text = ";".join(
                f'SELECT *::field FROM "{MEASUREMENT}" WHERE {self._where(key)} '  # noqa: S608
                f"AND time >= {low} AND time <= {high}"
                for key, low, high in some
            )
            for span, found in zip(
                some, self._server.query(text, statements=len(some)), strict=True
            ):
                with self._server.understood():
                    there = {t: set(rows_in(fields)) for t, fields in points_in(found)}
                yield *span, there

    def _where(self, key: SeriesKey) -> str:
        return " AND ".join(
            f"{named(name)}={quoted(encode_name(value))}" for name, value in self._tags(key).items()
        )

    def _send_all(self, made: Sequence[str]) -> None:
        for start in range(0, len(made), BATCH):
            self._send(made[start : start + BATCH])

    def _send(self, batch: Sequence[str]) -> None:
        """Write a batch, and park the lines that are at fault."""
        halving = Halving(self._server)
        halving.send(batch)
        for grade, reason, texts, count in halving.refused:
            self.park.add(texts, grade, reason, count)

    def read(self, key: SeriesKey, start: int, end: int) -> Series:
        """Readings with start ≤ t < end, of twins the larger one; without batch names."""
        text = (
            f'SELECT "value","low","failed","length" FROM "{MEASUREMENT}" '  # noqa: S608
            f"WHERE {self._where(key)} AND time >= {int(start)} AND time < {int(end)}"
        )
        (found,) = self._server.query(text)
        with self._server.understood():
            rows = [(t, *rows_in(fields)[0]) for t, fields in points_in(found)]
        return Series(
            [t for t, _, _, _ in rows],
            [v for _, _, v, _ in rows],
            [ok for _, ok, _, _ in rows],
            [length for _, _, _, length in rows],
            ["" for _ in rows],
        )

    def keys(self) -> Sequence[SeriesKey]:
        """Channels that have readings, sorted."""
        (found,) = self._server.query(f'SHOW SERIES FROM "{MEASUREMENT}" WHERE {self._mine}')
        with self._server.understood():
            names = (text for series in found for (text,) in series["values"])
            return sorted(key_of(split_head(text)[1]) for text in names)

    def forget(self, chunks: Sequence[SeriesChunk]) -> None:
        """Take readings away, whose stamps were mended; others at their times stay.

        A point loses no single field, so one with other readings is deleted and written again;
        what is owed is kept until the server has it.
        """
        gone: Held = {}
        for chunk in chunks:
            held = gone.setdefault(chunk.key, {})
            for t, row in rows_of(chunk.series):
                held.setdefault(t, set()).add(row)
        for key, low, high, there in self._there(gone):
            mine = gone[key]
            if not any(there.get(t, set()) & rows for t, rows in mine.items()):
                continue
            staying = [
                point(self._head(key), t, left)
                for t, rows in there.items()
                if (left := sorted(rows - mine.get(t, set()), reverse=True))
            ]
            self._owed.add(staying)
            self._server.run(
                f'DELETE FROM "{MEASUREMENT}" WHERE {self._where(key)} '  # noqa: S608
                f"AND time >= {low} AND time <= {high}"
            )
            self._pay()

    def _pay(self) -> None:
        """Write again what was deleted with its neighbours."""
        if self._owed.lines:
            self._send_all(self._owed.lines)
            self._owed.clear()

    def flush(self) -> None:
        """Nothing to do: a write is durable when it is answered."""

    def mark(self, entries: int) -> None:
        """Remember that so many journal entries are in it."""
        today = time.time_ns() // DAY_NS * DAY_NS
        self._send([f"{head(MARK, {'site': self._site})}entries={entries} {today}"])

    def marked(self) -> int:
        """Journal entries that are in it for sure; 0 where it remembers nothing.

        Asked where the server may be another than before: what it has is learned anew as well.
        """
        self._learned = False
        (found,) = self._server.query(f'SELECT last("entries") FROM "{MARK}" WHERE {self._mine}')  # noqa: S608
        with self._server.understood():
            return int(found[0]["values"][0][1]) if found else 0

    def clear(self) -> None:
        """Delete this site's readings, windows too, its mark, and what was parked."""
        for name in (MARK, MEASUREMENT):
            self._server.run(f'DELETE FROM "{name}" WHERE {self._mine}')  # noqa: S608
        self._claimed.clear()
        self._owed.clear()
        self._learned = True
        self.park.clear()

    def close(self) -> None:
        """Close connections."""
        self._server.close()
