"""Replays tables as readings and batches, exactly: decimals become integers of a resolution."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as TypingMapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from edge_agent.mapping import MappedColumn, MappedTable, Mapping
from edge_agent.source import RawReading
from mrv.channel import Channel, ChannelKind, ChannelTable
from mrv.errors import InputError
from mrv.finding import Finding, Severity
from mrv.interval import NS_PER_S
from mrv.quantity import exact_number
from mrv.strict_json import MAX_SAFE_INTEGER, is_plain

MAX_NAME = 128
"""Characters of the longest batch name an envelope carries."""


@dataclass(frozen=True, slots=True)
class ReplayBatch:
    """A batch the data speaks of."""

    batch: str
    """Name."""
    start: int
    """Start, ns UTC."""
    end: int
    """End, ns UTC."""
    good: str
    """Good output, decimal."""


@dataclass(slots=True)
class Replay:
    """All that the tables hold."""

    readings: list[RawReading] = field(default_factory=list)
    """Readings in the order of time; strictly rising for each channel."""
    batches: list[ReplayBatch] = field(default_factory=list)
    """Batches by start."""
    findings: list[Finding] = field(default_factory=list)
    """What is odd about the data; nothing is dropped without one."""
    claim: dict[str, str | int] = field(default_factory=dict)
    """The claim of the data and what its own figures give."""


Rows = list[tuple[int, dict[str, str]]]
"""Rows of a table with their line numbers; cells as text, "" = empty."""
Readers = TypingMapping[str, Callable[[Path], Rows]]
"""How to read files that are no CSV, by suffix, such as ".parquet"."""


def _open(path: Path, readers: Readers) -> Rows:
    """Rows of a table: CSV (.gz), or what a reader is there for. Raises InputError."""
    if path.suffix in readers:
        return readers[path.suffix](path)
    if path.suffix not in (".csv", ".gz", ".txt"):
        raise InputError(
            f"no reader for {path.suffix or 'a file without suffix'}",
            file=str(path),
            hint=f"tables are .csv, .csv.gz{''.join(f', {suffix}' for suffix in sorted(readers))}",
        )
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read: {error}", file=str(path), hint="name the data directory by --data"
        ) from error
    reader = csv.DictReader(io.StringIO(text))
    return [(reader.line_num, row) for row in reader]


class _Tables:
    """Reads the tables of one mapping."""

    def __init__(self, mapping: Mapping, directory: Path, readers: Readers) -> None:
        self.mapping = mapping
        self.readers = readers
        self.directory = directory
        self.replay = Replay()
        self.spans: dict[str, list[int]] = {}
        self.late: list[tuple[MappedTable, MappedColumn, str, Fraction]] = []

    def broken(self, file: str, line: int, reason: str) -> None:
        numbers = (("line", str(line)), ("reason", reason[:120]))
        self.replay.findings.append(
            Finding("broken_row", f"{file}:{line}", 0, Severity.ERROR, numbers)
        )

    def moment(self, table: MappedTable, row: dict[str, str], text: str) -> int:
        """Moment of a time in the mapping's format or in ISO 8601, ns UTC."""
        try:
            parsed = datetime.strptime(text.strip(), self.mapping.time_format)  # noqa: DTZ007
        except ValueError as error:
            try:
                parsed = datetime.fromisoformat(text.strip())
            except ValueError:
                raise error from None
        moment = parsed.replace(tzinfo=parsed.tzinfo or UTC)
        column, wanted = table.next_day_if
        if column and row.get(column, "").strip() == wanted:
            moment += timedelta(days=1)
        passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (passed.days * 86_400 + passed.seconds) * NS_PER_S + passed.microseconds * 1000

    def read(self) -> Replay:
        for table in self.mapping.tables:
            self._read_table(table)
        self._date_late()
        self._order()
        self._make_batches()
        _check(self.mapping, self.replay)
        return self.replay

    def _date_late(self) -> None:
        """Date amounts to the last event of their batch.

        A batch without any event is dated to the end of the one before it in the table, for a
        second, and that is said.
        """
        before = min((span[0] for span in self.spans.values()), default=0)
        for table, column, batch, value in self.late:
            span = self.spans.get(batch)
            if span is None:
                span = self.spans[batch] = [before, before + NS_PER_S]
                self.replay.findings.append(
                    Finding("batch_without_time", batch, before, Severity.WARNING)
                )
            before = span[1]
            self._add(table, column, span[1], 0, value, batch)

    def _read_table(self, table: MappedTable) -> None:
        rows = _open(self.directory / table.file, self.readers)
        times: dict[str, dict[str, str]] = {}
        if table.times:
            for _, row in _open(self.directory / table.times, self.readers):
                times[row.get(table.batch) or ""] = row
        headings = set(rows[0][1]) if rows else set()
        for column in table.columns:
            if rows and column.column not in headings:
                raise InputError(
                    f"the table {table.file} has no column {column.column!r}",
                    file=self.mapping.file,
                    field=column.channel,
                    hint=f"columns: {', '.join(sorted(h for h in headings if h))}",
                )
        for line, row in rows:
            for column in table.columns:
                try:
                    self._cell(table, column, row, times)
                except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
                    self.broken(table.file, line, f"{column.column}: {error}")
        self._claim(rows)

    def _cell(
        self,
        table: MappedTable,
        column: MappedColumn,
        row: dict[str, str],
        times: dict[str, dict[str, str]],
    ) -> None:
        text = (row[column.column] or "").strip()
        if None in row or (not text and not table.times and table.kind != "gauge"):
            raise ValueError("the row has another number of cells, or an empty one")
        if not text:
            return
        value = exact_number(text)
        batch = (row.get(table.batch) or "").strip() if table.batch else ""
        if table.batch and not batch:
            raise ValueError("the batch is empty")
        if len(batch) + len(self.mapping.batches.prefix) > MAX_NAME or not is_plain(batch):
            raise ValueError(f"a batch has at most {MAX_NAME} characters, none of them control")
        if not -(2**63) <= round(value / column.resolution) < 2**63:
            raise ValueError("the value is beyond 64 bits of the resolution")
        if table.at_batch_end:
            self.late.append((table, column, batch, value))
            return
        stamp = times[batch][column.column] if table.times else row[table.time]
        start = self.moment(table, row, stamp)
        length = table.length_s * NS_PER_S
        if table.end:
            length = self.moment(table, row, row[table.end]) - start
            if length < 0:
                raise ValueError("the interval ends before it starts")
        if table.stamped_end:
            start -= length
        if table.power:
            value = value * length / (3600 * NS_PER_S)
        if start < 0 or start + length >= 2**63:
            raise ValueError("the time is not between 1970 and 2262")
        if length > MAX_SAFE_INTEGER:
            raise ValueError("the interval is longer than 104 days")
        if batch:
            span = self.spans.setdefault(batch, [start, start + length])
            span[0], span[1] = min(span[0], start), max(span[1], start + length)
        self._add(table, column, start, length, value, batch)

    def _add(
        self,
        table: MappedTable,
        column: MappedColumn,
        start: int,
        length: int,
        value: Fraction,
        batch: str,
    ) -> None:
        counts = value / column.resolution
        amount = table.kind == "amount"
        tag = self.mapping.batches.prefix + batch if amount and batch else ""
        self.replay.readings.append(
            RawReading(column.channel, start, 0, round(counts), "", b"", length, tag)
        )

    def _order(self) -> None:
        """Sort, and move twins of one channel apart by a nanosecond: a store has one a moment."""
        ordered = sorted(self.replay.readings, key=lambda r: (r.channel, r.t, r.tag, r.v or 0))
        last: dict[str, int] = {}
        apart: list[RawReading] = []
        for reading in ordered:
            moment = max(reading.t, last.get(reading.channel, -1) + 1)
            last[reading.channel] = moment
            apart.append(reading if moment == reading.t else replace(reading, t=moment))
        self.replay.readings = sorted(apart, key=lambda r: (r.t, r.channel))

    def _make_batches(self) -> None:
        rules = self.mapping.batches
        if rules.by == "day":
            day = 86_400 * NS_PER_S
            days = sorted({r.t // day for r in self.replay.readings})
            for number in days:
                name = datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y-%m-%d")
                self.replay.batches.append(
                    ReplayBatch(rules.prefix + name, number * day, (number + 1) * day, rules.good)
                )
            return
        for key, (start, end) in self.spans.items():
            self.replay.batches.append(
                ReplayBatch(rules.prefix + key, start, max(end, start + NS_PER_S), rules.good)
            )
        self.replay.batches.sort(key=lambda b: (b.start, b.batch))

    def _claim(self, rows: Rows) -> None:
        claim = self.mapping.claim
        if claim is None or not rows or claim.column not in rows[0][1]:
            return
        agree = zero = 0
        total = Fraction(0)
        used = Fraction(0)
        for _, row in rows:
            stated, energy = Fraction(row[claim.column]), Fraction(row[claim.of])
            exact = energy * claim.factor / 1000
            scale = 10**claim.decimals
            agree += stated == Fraction(round(exact * scale), scale)
            zero += stated == 0 and round(exact * scale) != 0
            total += stated
            used += exact
        self.replay.claim = {
            "rows": len(rows),
            "agree": agree,
            "claimed_t": f"{float(total):.{claim.decimals}f}",
            "zero_rows_with_use": zero,
        }


def _check(mapping: Mapping, replay: Replay) -> None:
    by_channel: dict[str, list[RawReading]] = {}
    for reading in replay.readings:
        by_channel.setdefault(reading.channel, []).append(reading)
    for channel in mapping.overlap:
        rows = by_channel.get(channel, [])
        reach = 0
        for reading in rows:
            if reading.t < reach:
                numbers = (("batch", reading.tag), ("overlap_ns", str(reach - reading.t)))
                replay.findings.append(
                    Finding("overlapping_interval", channel, reading.t, Severity.WARNING, numbers)
                )
            reach = reading.t + reading.length
    for prefix, channel in mapping.within:
        spans: dict[str, tuple[int, int]] = {}
        for reading in by_channel.get(channel, []):
            low, high = spans.get(reading.tag, (reading.t, reading.t))
            spans[reading.tag] = (min(low, reading.t), max(high, reading.t + reading.length))
        for name in sorted(by_channel):
            if not name.startswith(prefix):
                continue
            for reading in by_channel[name]:
                span = spans.get(reading.tag)
                if span is not None and not span[0] <= reading.t <= span[1]:
                    side = "before" if reading.t < span[0] else "after"
                    numbers = (("batch", reading.tag), ("channel", name))
                    replay.findings.append(
                        Finding(
                            f"addition_{side}_{channel.partition('.')[0]}",
                            f"{name}:{reading.tag}",
                            reading.t,
                            Severity.WARNING,
                            numbers,
                        )
                    )
    for channel in mapping.required:
        having = {reading.tag for reading in by_channel.get(channel, [])}
        for batch in replay.batches:
            if batch.batch not in having:
                replay.findings.append(
                    Finding(
                        "batch_without_readings",
                        f"{channel}:{batch.batch}",
                        batch.start,
                        Severity.WARNING,
                    )
                )


def read_replay(
    mapping: Mapping, directory: Path, readers: Readers = MappingProxyType({})
) -> Replay:
    """Read all tables. Raises InputError where a file or column is missing."""
    return _Tables(mapping, directory, readers).read()


def channel_table(mapping: Mapping, site: str) -> ChannelTable:
    """The channel table of a replay."""
    channels = []
    for table, column in mapping.columns():
        instrument, _, register = column.channel.partition(".")
        channels.append(
            Channel(
                name=column.channel,
                kind=ChannelKind(table.kind),
                instrument=instrument,
                serial=instrument,
                register=register,
                resolution=column.resolution,
                unit=column.unit,
                ratio=Fraction(1),
                profile="",
                tier=mapping.tier,
            )
        )
    return ChannelTable(site, mapping.agent, tuple(sorted(channels, key=lambda c: c.name)))


def due(readings: Sequence[RawReading], start: int, upto: int) -> int:
    """Where the readings after place `start` with a time above `upto` (ns UTC) begin."""
    return bisect_right(readings, upto, lo=start, key=lambda reading: reading.t)


def groups(readings: list[RawReading], size: int) -> Iterator[list[RawReading]]:
    """Readings in portions of `size`."""
    iterator = iter(readings)
    while portion := list(itertools.islice(iterator, size)):
        yield portion
