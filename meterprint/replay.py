"""`meterprint replay`: tables through the whole real path, as fast as it goes.

Agent with signatures → outbox → broker → ingest → journal → receipts → engine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.agent import Agent
from edge_agent.mapping import Mapping, read_mapping
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.replay import Replay, channel_table, due, groups, read_replay
from footprint.exact import decimal_text
from footprint.rows import notes_json
from ingest.broker import start_broker
from ingest.collector import calm_collector
from ingest.keyring import load_or_make_key
from ingest.receiver import Committed, Receiver
from ingest.subscriber import Subscriber
from meterprint.parquet_table import read_parquet
from meterprint.plant_file import PlantFile, load_plant
from meterprint.site import Site, open_site
from mrv.column import MAX_READINGS
from mrv.envelope import Clock, ClockState
from mrv.errors import MeterprintError
from mrv.finding import count_by_rule
from mrv.interval import NS_PER_S

STALL_S = 60.0
"""Without a new receipt for this long a replay gives up; a second start resumes."""
AHEAD = 400
"""Envelopes the agent may be ahead of receipts."""

PACE_S = 0.1
"""Shortest pause between two portions of a paced replay, s."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Example:
    """A directory with plant.yaml and map.yaml."""

    plant: PlantFile
    """The plant."""
    mapping: Mapping
    """How its tables become readings."""
    data: Path
    """Where the tables lie."""


def load_example(directory: Path, data: Path | None) -> Example:
    """Read an example. Raises InputError."""
    plant = load_plant(directory / "plant.yaml")
    return Example(plant, read_mapping(directory / "map.yaml"), data or directory)


def replay(
    example: Example, state: Path, progress: Progress, port: int = 0, speed: float = 0
) -> dict[str, Any]:
    """Replay an example into a state directory and summarise. Raises MeterprintError.

    `speed` seconds of the data pass in a second; 0 = as fast as it goes.
    """
    started = time.monotonic()
    content = read_replay(example.mapping, example.data, {".parquet": read_parquet})
    calm_collector()
    first = min((r.t for r in content.readings), default=0)
    site = open_site(state, example.plant.plant.site)
    try:
        first = min([first, *(b.start for b in content.batches)])
        site.state_plant(example.plant, first)
        _drive(site, example, content, progress, port, speed)
        _state_batches(site, example.mapping, content, progress)
        site.refresh(lambda done, total: progress("compute", done, total))
        site.engine.seal()
        site.engine.compact()
        return summary(site, content, time.monotonic() - started)
    finally:
        site.close()


def _drive(
    site: Site,
    example: Example,
    content: Replay,
    progress: Progress,
    port: int,
    speed: float,
) -> None:
    mapping = example.mapping
    folder = site.state / "agents" / mapping.agent
    key = load_or_make_key(folder / "agent.key", mapping.agent)
    site.enrol_agent(key.public)
    broker = start_broker(site.state / "broker", port)
    receiver = Receiver(site.journal, site.quarantine, site.keyring.receipts, site.keys_of)
    try:
        subscriber = Subscriber(
            receiver,
            site.name,
            broker.port,
            username=broker.username,
            password=broker.password,
            on_committed=lambda items: _offer(site, items),
            agents=site.agents,
        )
        outbox = Outbox(folder / "outbox.db")
        try:
            table = channel_table(mapping, site.name)
            streams = {channel.name: mapping.stream for channel in table.channels}
            clock = Clock(ClockState.INFORMATIVE, 0, "file")
            agent = Agent(table, streams, key, outbox, lambda: clock)
            publisher = Publisher(
                outbox,
                site.name,
                mapping.agent,
                site.keyring.receipts.public,
                broker.port,
                username=broker.username,
                password=broker.password,
            )
            agent.publisher = publisher
            try:
                if not _already(site, content):
                    _feed(agent, content, progress, speed)
                _drain(publisher, outbox, receiver, progress)
            finally:
                publisher.stop()
        finally:
            outbox.close()
            subscriber.stop()
    finally:
        broker.stop()


def _offer(site: Site, items: Sequence[Committed]) -> None:
    for item in items:
        if item.new and item.accepted.draft.envelope is not None:
            site.engine.offer(
                item.index, item.accepted.draft.identity, item.accepted.draft.envelope
            )


def _already(site: Site, content: Replay) -> bool:
    """Whether an earlier start has cut all readings of this data into envelopes."""
    site.engine.catch_up()
    return site.engine.reading_count >= len(content.readings)


def _feed(agent: Agent, content: Replay, progress: Progress, speed: float) -> None:
    total = len(content.readings)
    if speed:
        _pace(agent, content, progress, speed)
        return
    for place, portion in enumerate(groups(content.readings, MAX_READINGS)):
        agent.add(portion)
        agent.flush()
        progress("read", min((place + 1) * MAX_READINGS, total), total)


def _pace(agent: Agent, content: Replay, progress: Progress, speed: float) -> None:
    """Feed readings as their time comes."""
    readings, total = content.readings, len(content.readings)
    begun, done, pause = time.monotonic(), 0, threading.Event()
    while done < total:
        passed = int((time.monotonic() - begun) * speed * NS_PER_S)
        stop = due(readings, done, readings[0].t + passed)
        if stop > done:
            agent.add(readings[done:stop])
            agent.flush()
            done = stop
            progress("read", done, total)
        if done < total:
            left = (readings[done].t - readings[0].t) / NS_PER_S / speed
            pause.wait(max(PACE_S, begun + left - time.monotonic()))


def _drain(publisher: Publisher, outbox: Outbox, receiver: Receiver, progress: Progress) -> None:
    depth = total = outbox.depth()
    quiet_since = time.monotonic()
    while not publisher.drained.wait(timeout=0.1):
        now = outbox.depth()
        progress("journal", total - now, total)
        if now < depth:
            depth, quiet_since = now, time.monotonic()
        elif time.monotonic() - quiet_since > STALL_S:
            raise MeterprintError(
                f"{now} envelopes have no receipt after {STALL_S:.0f} s "
                f"({receiver.tally.received} received)",
                hint="nothing is lost: start the same command again to resume",
            )
    progress("journal", total, total)


def _state_batches(site: Site, mapping: Mapping, content: Replay, progress: Progress) -> None:
    rules = mapping.batches
    total = len(content.batches)
    for place, batch in enumerate(content.batches):
        base = {"line": rules.line, "batch": batch.batch, "t": str(batch.start)}
        start = {**base, "id": f"{batch.batch}/start", "event": "start", "product": rules.product}
        end = {**base, "id": f"{batch.batch}/end", "event": "end", "good": batch.good}
        site.events.take(start, mapping.agent)
        site.events.take({**end, "t": str(batch.end)}, mapping.agent)
        if place % 20 == 0 or place + 1 == total:
            progress("batches", place + 1, total)


def summary(site: Site, content: Replay, seconds: float) -> dict[str, Any]:
    """What a replay did, in the words of `replay --json`."""
    results = site.engine.results
    states = {"provisional": 0, "final": 0, "final_estimated": 0, "closed": 0}
    for result in results.values():
        states[result.state.value] += 1
    findings = count_by_rule([*content.findings, *site.engine.findings()])
    books = {book.subject: book.to_json() for book in site.engine.books()}
    site.journal.checkpoint()
    report: dict[str, Any] = {
        "heats": len(content.batches),
        "batches": states,
        "readings": site.engine.reading_count,
        "registers": books,
        "findings": findings,
        "journal": {
            "entries": site.journal.size,
            "bytes": site.journal.bytes_on_disk(),
            "root": site.journal.root().hex(),
        },
        "seconds": round(seconds, 3),
        "notes": notes_json(plant.notes) if (plant := site.plant()) is not None else [],
    }
    if content.claim:
        total = sum((r.footprint for r in results.values()), start=0)
        report["claim"] = {
            **content.claim,
            "recomputed_t": decimal_text(round_to(total / 1000, 2)),
        }
    return report


def round_to(value: Any, digits: int) -> Any:
    """An exact number rounded half-even to decimals."""
    return round(value, digits)
