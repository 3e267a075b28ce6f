"""Signed envelopes → MQTT → verified → journal → segments, 100 and 20 readings each.

Limit of the same run: cores / Σ CPU cost a reading of the stages measured alone, each with the code
that runs in the whole, in groups as there:

- mqtt_receive: an agent's session from the socket to the acknowledgement, which does nothing else;
- verify: the form of the note, whose key it names, and the signatures of a group together;
- parse: the signed text as an envelope;
- commit: the group in the journal, synced;
- store: into chains and readings in memory, sealed into segments as they fill.

Lanes, identities, receipts, the broker and the load generator are in no stage: they cost the whole
and not the limit.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.load_generator import LoadGenerator
from bench.results import record
from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.acceptance import present
from ingest.agent_session import AgentSession
from ingest.broker import Mosquitto
from ingest.collector import calm_collector
from ingest.engine_shell import SEGMENT, EngineShell
from ingest.entry import Draft, EntryKind
from ingest.envelope_reading import read_envelope
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.mqtt_feed import Arrived, BrokerAddress
from ingest.quarantine import Quarantine
from ingest.receiver import Receiver
from ingest.series_parquet import ParquetStore
from ingest.signature_check import SignatureCheck
from ingest.stored_readings import StoredReadings
from ingest.subscriber import Subscriber
from mrv.envelope import Clock, ClockState
from mrv.verification.note import SecretKey, identity, split

SITE = "bench"
PUBLISHERS = 2
READINGS = 300_000
GROUP = 200
"""Messages of a group where a stage is measured alone."""
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "bench")


def notes(name: str, key: SecretKey, each: int) -> list[bytes]:
    """Ready-made envelopes of one agent."""
    chain = StreamChain(SITE, "s", key, "", None)
    made = []
    for start in range(0, READINGS, each):
        rows = [
            RawReading(f"m{i % 10}.energy", (start + i) * 10**9, 0, 1000 + 7 * (start + i))
            for i in range(each)
        ]
        made += [out.note for out in chain.cut(rows, CLOCK)]
    assert name == key.name
    return made


def topic(agent: str) -> bytes:
    """Topic of an agent's envelopes."""
    return f"meterprint/1/{SITE}/{agent}/readings/s".encode()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run, from the first message to the last reading in the engine."""

    rate: float
    """Readings a second."""
    cpu: float
    """CPU seconds of our process a reading: all stages and what lies between them."""


def run(
    folder: Path, made: dict[str, list[bytes]], keys: dict[str, SecretKey], each: int
) -> Outcome:
    """Send everything and wait until the engine has it."""
    ring = Keyring.open(folder / "keys", SITE)
    journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
    quarantine = Quarantine(folder / "quarantine.db")
    enrolled = {agent: (key.public,) for agent, key in keys.items()}
    receiver = Receiver(journal, quarantine, ring.receipts, enrolled.__getitem__)
    receiver.signatures.warm()
    engine = EngineShell(journal, folder=folder)
    total = sum(len(m) for m in made.values())
    done, stop, wake = threading.Event(), threading.Event(), threading.Event()

    def committed(items: object) -> None:
        for item in items:
            accepted = item.accepted.draft
            if item.new and accepted.envelope is not None:
                engine.offer(item.index, accepted.identity, accepted.envelope)
        wake.set()

    def follow() -> None:
        while not stop.is_set():
            wake.wait()
            wake.clear()
            engine.catch_up()
            if engine.reading_count >= total * each:
                done.set()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    broker = Mosquitto(folder / "broker")
    load = LoadGenerator(
        broker.port, [[(topic(agent), note) for note in notes] for agent, notes in made.items()]
    )
    subscriber = Subscriber(
        receiver, SITE, broker.port, on_committed=committed, agents=lambda: list(made)
    )
    subscriber.connected.wait(10)
    started, cpu = time.perf_counter(), time.process_time()
    load.go()
    if not done.wait(300):
        raise SystemExit(f"only {engine.reading_count} of {total * each} readings arrived")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    load.wait()
    subscriber.stop()
    broker.stop()
    stop.set()
    wake.set()
    follower.join()
    engine.close()
    journal.close()
    quarantine.close()
    return Outcome(total * each / seconds, cpu / (total * each))


@dataclass(slots=True)
class Stages:
    """The first messages of a run, taken apart stage by stage in our process alone."""

    readings: int
    cost: dict[str, float] = field(default_factory=dict)
    """CPU seconds a reading, by stage."""
    drafts: list[Draft] = field(default_factory=list)

    def timed(self, name: str, work: Callable[[], object]) -> None:
        """Do the work once and keep what it cost."""
        started = time.process_time()
        work()
        self.cost[name] = (time.process_time() - started) / self.readings


def common_stages(folder: Path, messages: list[bytes], key: SecretKey, each: int) -> Stages:
    """Every stage that does not depend on where readings are stored."""
    sample = messages[:1500]
    made = Stages(len(sample) * each)
    groups = [sample[i : i + GROUP] for i in range(0, len(sample), GROUP)]
    check = SignatureCheck()
    check.warm()
    enrolled = (key.public,)

    def verify() -> None:
        for group in groups:
            shown = [present(note, key.name, lambda _: enrolled) for note in group]
            assert all(check.hold([one for each in shown for one in each.signed()]))

    made.timed("verify", verify)
    texts = [split(note)[0] for note in sample]
    made.timed("parse", lambda: [read_envelope(text) for text in texts])
    made.drafts = [
        Draft(EntryKind.ENVELOPE, note, identity(text), envelope=read_envelope(text))
        for note, text in zip(sample, texts, strict=True)
    ]
    ring = Keyring.open(folder / "keys", SITE)
    journal = Journal(folder / "alone.db", SITE, ring.checkpoints)
    made.timed(
        "commit",
        lambda: [
            journal.append(made.drafts[i : i + GROUP]) for i in range(0, len(made.drafts), GROUP)
        ],
    )
    journal.close()
    made.cost["mqtt_receive"] = receive_cost(folder, sample) / made.readings
    return made


def stages(folder: Path, messages: list[bytes], key: SecretKey, each: int) -> dict[str, float]:
    """CPU seconds a reading of each stage alone."""
    made = common_stages(folder, messages, key, each)
    store = StoredReadings(ParquetStore(folder / "segments"))

    def keep() -> None:
        for place, draft in enumerate(made.drafts):
            assert draft.envelope is not None
            store.add_envelope(draft.identity, draft.envelope)
            if store.store.pending >= SEGMENT:
                store.seal(place, draft.identity)
        store.seal(len(made.drafts), made.drafts[-1].identity)

    made.timed("store", keep)
    store.store.close()
    return made.cost


def receive_cost(folder: Path, sample: list[bytes]) -> float:
    """CPU seconds to receive the messages in a session of an agent, and acknowledge them."""
    broker = Mosquitto(folder / "receive")
    load = LoadGenerator(broker.port, [[(topic("a0"), note) for note in sample]])
    done = threading.Event()
    seen = 0

    def arrived(session: AgentSession, messages: Sequence[Arrived], connection: int) -> bool:
        nonlocal seen
        seen += len(messages)
        session.acknowledge([message.mid for message in messages], connection)
        if seen >= len(sample):
            done.set()
        return True

    session = AgentSession("receive", BrokerAddress(broker.port), arrived)
    session.start([topic("a0").decode()])
    if not session.subscribed.wait(10):
        raise SystemExit("the broker does not answer")
    started = time.process_time()
    load.go()
    if not done.wait(120):
        raise SystemExit(f"only {seen} of {len(sample)} messages arrived")
    seconds = time.process_time() - started
    load.wait()
    session.leave()
    session.join()
    broker.stop()
    return seconds


def measure(bench: str, each: int) -> None:
    """Print the figure for so many readings an envelope beside its limit; enter both."""
    keys = {f"a{i}": SecretKey.generate(f"a{i}") for i in range(PUBLISHERS)}
    made = {name: notes(name, key, each) for name, key in keys.items()}
    with tempfile.TemporaryDirectory() as name:
        runs = [run(Path(name) / str(number), made, keys, each) for number in range(3)]
        cost = stages(Path(name) / "stages", made["a0"], keys["a0"], each)
    figure = statistics.median(one.rate for one in runs)
    cores = os.cpu_count() or 1
    limit = cores / sum(cost.values())
    print(f"{bench}, {each} readings an envelope: {figure:,.0f} readings/s")
    for stage, seconds in cost.items():
        print(f"  {stage:<13} {seconds * 1e6:.3f} µs CPU a reading")
    whole = statistics.median(one.cpu for one in runs)
    print(
        f"  in the run    {whole * 1e6:.3f} µs CPU a reading, {sum(cost.values()) * 1e6:.3f} alone"
    )
    print(f"limit, {cores} cores / Σ CPU cost: {limit:,.0f} readings/s; ratio {figure / limit:.2f}")
    limits = {"cores_by_cpu_cost": round(limit)}
    record(bench, round(figure), "readings/s", limits, {}, [round(one.rate) for one in runs])


def main() -> None:
    """100 and 20 readings an envelope."""
    calm_collector()
    measure("ingest", 100)
    measure("ingest_20", 20)


if __name__ == "__main__":
    main()
