"""What an evidence bundle holds, and how it is laid out (docs: evidence).

A bundle is what the engine read while it computed one batch, no more: the envelopes of the
streams it used, whole chains of fact headers, the bodies it needed, proofs and a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from footprint.batch import METHOD, BatchResult
from footprint.engine import Engine
from footprint.readings import ChannelSource, Readings, SignedGap
from footprint.timeline import OPEN, Timeline
from mrv.measurement.activity import PYTHON, Kernels
from mrv.reporting.completeness import ChainLink, StreamChain
from mrv.reporting.mending import Mending
from mrv.series import Series, SeriesKey
from mrv.strict_json import canonical, dumps

BUNDLE_VERSION = 2
"""Version of the layout: 2 shows the places of the key facts (ADR 46); 1 is still verified."""
MANIFEST = "manifest.note"
"""Signed list of all other files with their hashes."""
CHECKPOINT = "checkpoint.note"
"""Signed head of the journal."""
STREAM_HEADS = "stream-heads.txt"
"""List whose hash the checkpoint binds."""
RESULT = "result.json"
"""The figure under test."""


class ReadingsRecorder:
    """Readings that remember what was asked of them."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self.spans: dict[SeriesKey, tuple[int, int]] = {}
        self.sources_used: dict[str, Sequence[ChannelSource]] = {}

    def _note(self, key: SeriesKey, start: int, end: int) -> None:
        low, high = self.spans.get(key, (start, end))
        self.spans[key] = (min(low, start), max(high, end))

    def sources(self, channel: str) -> Sequence[ChannelSource]:
        """Who delivers the channel."""
        found = self._readings.sources(channel)
        self.sources_used[channel] = found
        return found

    def read(self, key: SeriesKey, start: int, end: int, margin: int) -> Series:
        """Readings; their times are remembered."""
        series = self._readings.read(key, start, end, margin)
        self._note(key, start, end)
        if len(series):
            self._note(key, int(series.t[0]), int(series.t[-1]))
        return series

    def span(self, key: SeriesKey) -> tuple[int, int] | None:
        """First and last time."""
        return self._readings.span(key)

    def longest(self, key: SeriesKey) -> int:
        """Length of the longest amount."""
        return self._readings.longest(key)

    def tagged(self, key: SeriesKey, batch: str) -> Series:
        """Tagged amounts; their times are remembered."""
        series = self._readings.tagged(key, batch)
        if len(series):
            self._note(key, int(series.t[0]), int(series.t[-1]))
        return series

    def tags(self, key: SeriesKey) -> Sequence[str]:
        """Tags of the channel."""
        return self._readings.tags(key)

    def chain(self, agent: str, stream: str) -> StreamChain:
        """The stream's envelopes."""
        return self._readings.chain(agent, stream)

    def mended(self, agent: str, stream: str) -> Sequence[Mending]:
        """Envelopes of the stream whose stamps were proven wrong."""
        return self._readings.mended(agent, stream)

    def gaps(self, key: SeriesKey) -> Sequence[SignedGap]:
        """Gaps stated; those within the time read so far are remembered."""
        gaps = self._readings.gaps(key)
        low, high = self.spans.get(key, (0, 0))
        for gap in gaps:
            if gap.start <= high and gap.end >= low:
                self._note(key, gap.start, gap.end)
        return gaps


@dataclass(frozen=True, slots=True)
class Needs:
    """What a bundle of a batch must hold."""

    result: BatchResult
    """The figure."""
    links: tuple[ChainLink, ...]
    """Envelopes, in the order of their chains."""
    tables: tuple[str, ...]
    """Identities of channel tables."""
    lines: tuple[str, ...]
    """Lines whose production chain is needed."""
    batches: tuple[str, ...]
    """Batches whose facts are disclosed."""
    start: int
    """Start of the time the figure rests on, ns."""
    end: int
    """End of it, ns."""


def cover(engine: Engine, result: BatchResult) -> tuple[tuple[str, ...], int, int]:
    """Lines and time a result rests on: its own and those of the pools it shares.

    Of a pool also the window before it: its good output is why the pool begins after it.
    """
    plant = engine.knowledge.plant_at(result.batch.start)
    lines = {result.batch.line}
    start, end = result.batch.start, result.batch.end or result.batch.start
    if plant is not None and result.batch.end is not None:
        before = engine.timeline(result.batch.line).before(result.batch.start)
        if before is not None and before.end is not None:
            start = min(start, before.end)
        for source in plant.sources:
            if result.batch.line not in source.lines or source.outside is not None:
                continue
            lines |= set(source.lines)
            for group in engine.plan(source.lines, plant).groups_of(result.batch, result.batch.end):
                start = min(start, group.start - plant.policy.pool_window)
                end = max(end, group.end)
    return tuple(sorted(lines)), start, end


def disclosed(timeline: Timeline, start: int, end: int) -> list[str]:
    """Batches that overlap [start, end) and the neighbours on either side."""
    names = [batch.id for batch in timeline.overlapping(start, end)]
    before = timeline.before(start)
    after = timeline.after(end)
    return sorted({*names, *(b.id for b in (before, after) if b is not None)})


def _links(readings: Readings, place: tuple[str, str], low: int, high: int) -> list[ChainLink]:
    """Envelopes of a stream that the readings in [low, high] rest on, in the order of the chain.

    Where stamps were proven wrong, the envelopes that prove it are among them.
    """
    chain = readings.chain(*place)
    closing = chain.closing(high)
    upto = max(high, closing.t_first if closing else high)
    mended = readings.mended(*place)
    also = [
        m.link
        for m in mended
        if m.link.t_last + m.offset >= low and m.link.t_first + m.offset <= high
    ]
    while True:
        kept = chain.between(low, upto, also)
        names = {link.identity for link in kept}
        missing = [
            m.anchor for m in mended if m.link.identity in names and m.anchor.identity not in names
        ]
        start = _fork_start(chain, kept, low, upto)
        if not missing and start is None:
            return kept
        low = low if start is None else start
        also += missing


def _fork_start(chain: StreamChain, kept: Sequence[ChainLink], low: int, upto: int) -> int | None:
    """From when on the links hang together where a restored outbox forked the chain, ns.

    None where they do.
    """
    names = {link.identity for link in kept}
    if sum(1 for link in kept if link.prev not in names) < 2:
        return None
    _, oldest = chain.walk(low, upto)
    return None if oldest is None or oldest.t_first >= low else oldest.t_first


def needs_of(engine: Engine, name: str, kernels: Kernels = PYTHON) -> Needs | None:
    """What a bundle of batch `name` must hold; None where there is no such batch."""
    recorder = ReadingsRecorder(engine.readings)
    traced = Engine(engine.knowledge, recorder, kernels)
    result = traced.batch(name)
    if result is None:
        return None
    lines, start, end = cover(traced, result)
    by_stream: dict[tuple[str, str], tuple[int, int]] = {}
    for key, (low, high) in recorder.spans.items():
        place = (key.agent, key.stream)
        known = by_stream.get(place, (low, high))
        by_stream[place] = (min(known[0], low), max(known[1], high))
    links: list[ChainLink] = []
    for place in sorted(by_stream):
        low, high = by_stream[place]
        links += _links(engine.readings, place, low, high)
    tables = {
        identity
        for found in recorder.sources_used.values()
        for source in found
        for identity, _ in source.tables
    }
    batches: list[str] = []
    for line in lines:
        batches += disclosed(engine.timeline(line), start, end)
    return Needs(result, tuple(links), tuple(sorted(tables)), lines, tuple(batches), start, end)


@dataclass(slots=True)
class BundleFiles:
    """Files of a bundle on their way into the container."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Name → content."""

    def add_json(self, name: str, value: Any) -> None:
        """A file of one JSON value."""
        self.files[name] = dumps(value) + b"\n"

    def manifest(self, site: str, batch: str) -> bytes:
        """Text of the manifest: every file with its SHA-256."""
        return (
            canonical(
                {
                    "v": BUNDLE_VERSION,
                    "site": site,
                    "batch": batch,
                    "method": METHOD,
                    "files": {
                        name: hashlib.sha256(content).hexdigest()
                        for name, content in self.files.items()
                    },
                }
            )
            + b"\n"
        )


def header_file(chain: str) -> str:
    """File with the headers of a chain."""
    return f"facts/{chain}.headers.jsonl"


def body_file(chain: str, seq: int) -> str:
    """File with the body of a fact."""
    return f"facts/{chain}.bodies/{seq:08d}.json"


def key_fact_file(seq: int) -> str:
    """File with the journal entry of a registry fact that enrols or revokes a key."""
    return f"key-facts/{seq:08d}.json"


def envelope_file(stream: str, index: int) -> str:
    """File with an envelope."""
    return f"envelopes/{stream}/{index:010d}.json"


def table_file(identity: str) -> str:
    """File with a channel table."""
    return f"tables/{identity}.json"


def entry_record(index: int, salt: bytes, note: bytes, proof: Sequence[bytes]) -> Mapping[str, Any]:
    """A journal entry with its proof of inclusion."""
    return {
        "index": index,
        "salt": salt.hex(),
        "proof": [node.hex() for node in proof],
        "note": note.decode(),
    }


def interval_by_headers(
    headers: Sequence[tuple[int, str, str, int | None, int | None]],
) -> dict[str, tuple[int, int]]:
    """Time each batch claims by its headers alone.

    `headers` are (seq, type, subject id, valid_from, supersedes); bodies are not needed to see
    that a batch overlaps. A batch without end claims all time after its start.
    """
    replaced = {supersedes for *_, supersedes in headers if supersedes is not None}
    spans: dict[str, tuple[int, int]] = {}
    for seq, kind, subject, moment, _ in headers:
        if seq in replaced or moment is None:
            continue
        start, end = spans.get(subject, (OPEN, OPEN))
        if kind == "batch_started":
            spans[subject] = (min(start, moment), end)
        elif kind == "batch_ended":
            spans[subject] = (start, min(end, moment))
    return {s: span for s, span in spans.items() if span[0] != OPEN}
