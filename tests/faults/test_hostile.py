"""Hostile input: mutated envelopes and facts are refused, or found, and never crash anything.

`METERPRINT_HOSTILE` is the number of attempts of each kind (4,000; a long run takes 1,000,000).
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from fractions import Fraction

import pytest

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from footprint.conservation import books
from footprint.engine import Engine
from footprint.intake import MemoryReadings
from footprint.knowledge import Knowledge
from ingest.acceptance import Accepted, Quarantined, judge
from ingest.batch_events import BatchEvents
from ingest.engine_shell import EngineShell
from ingest.entry import Entry
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.kernels import compiled
from ingest.keyring import Keyring
from ingest.series import chunks_of
from ingest.series_parquet import ParquetStore
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, Head, parse
from mrv.errors import InputError, MeterprintError, WireError
from mrv.fact import Fact, FactHeader
from mrv.strict_json import loads
from mrv.verification.note import SecretKey, identity, open_note, sign, split
from tests.faults.figures import reached
from tests.faults.hostile import attempts, mutate_bytes, mutate_json, mutate_line, torture
from tests.footprint.test_engine import FACTOR, PLANT

COUNT = int(os.environ.get("METERPRINT_HOSTILE", "4000"))
S = 10**9
SITE = "x"
KEY = SecretKey.generate("a")
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")


def channel(name, kind):
    return Channel(
        f"{name}.e", kind, name, name, "e", Fraction(1, 10), "kWh", Fraction(1), "",
        AssuranceTier.AGENT_SIGNED,
    )  # fmt: skip


TABLE = ChannelTable(
    SITE, "a", (channel("m", ChannelKind.COUNTER), channel("air", ChannelKind.AMOUNT))
)


def seeds():
    """Validly signed notes: counters, amounts with tags, a failed read, a second epoch."""
    cfg = identity(render_table(TABLE))
    notes = []
    for epoch in ("e" * 16, "f" * 16):
        after = Head("e" * 16, 2, "0" * 64) if epoch[0] == "f" else None
        chain = StreamChain(
            SITE, "l", KEY, cfg, after, now=lambda: 900 * S, epoch=epoch, amounts={"air.e"}
        )
        for part in range(3):
            rows = [RawReading("m.e", (part * 100 + i) * S, 0, i * 7) for i in range(5)]
            rows.append(RawReading("m.e", (part * 100 + 9) * S, 0, None, "timeout"))
            rows.append(
                RawReading("air.e", (part * 100 + 3) * S, 0, 12, "", b"", 2 * S, "b1" * part)
            )
            notes += [sent.note for sent in chain.cut(rows, CLOCK)]
    return notes


NOTES = seeds()
GENUINE = {identity(split(note)[0]) for note in NOTES}


def verdict(note):
    return judge(note, "a", SITE, lambda name: [KEY.public] if name == "a" else [])


def test_no_changed_note_is_ever_accepted_as_another_one():
    outcomes = Counter()

    def attempt(rng):
        note = mutate_bytes(rng.choice(NOTES), rng, rng.choice(NOTES))
        found = verdict(note)
        if isinstance(found, Quarantined):
            assert found.reason in ("too_large", "malformed", "unknown_agent", "bad_signature")
            outcomes[found.reason] += 1
            return
        assert found.draft.identity in GENUINE
        assert open_note(note, [KEY.public]).text == split(note)[0]
        outcomes["genuine"] += 1

    attempts(COUNT, 1, attempt)
    reached("changed envelopes", COUNT)
    assert outcomes["bad_signature"] > COUNT // 3
    assert outcomes["malformed"] > 0
    assert sum(outcomes.values()) == COUNT


class Target:
    """An engine on a small plant, fed with one hostile envelope at a time."""

    def __init__(self, folder):
        ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
        self.writer = FactWriter(self.journal, ring)
        self.writer.found("t")
        self.writer.record("registry", "plant_model", SITE, PLANT, author="t", valid_from=0)
        self.writer.record("registry", "factor_set", "s", {"rows": [FACTOR]}, author="t")
        chain = "production/l"
        body = {"product": "p"}
        self.writer.record(chain, "batch_started", "b1", body, author="t", valid_from=100 * S)
        body = {"good": "10"}
        self.writer.record(chain, "batch_ended", "b1", body, author="t", valid_from=200 * S)
        self.facts = self.journal.size
        self.store = folder / "series"

    def hit(self, notes, kernels):
        """Journal entries of validly signed notes, the engine on them; its findings by rule."""
        shell = EngineShell(self.journal, kernels)
        shell.catch_up()
        table = render_table(TABLE)
        drafts = [judge(sign(table, KEY), "a", SITE, lambda _: [KEY.public], table=True)]
        drafts += [verdict(note) for note in notes]
        for place, accepted in enumerate(drafts):
            assert isinstance(accepted, Accepted)
            draft = accepted.draft
            entry = Entry(
                self.facts + place, draft.kind, b"", draft.note, draft.identity, None, None
            )
            shell._take(entry)
        shell.refresh()
        for book in shell.books():
            assert book.residual == 0
        found = Counter(finding.rule for finding in shell.findings())
        digest = shell.results["b1"].digest()
        return digest, found


@pytest.fixture
def target(tmp_path):
    target = Target(tmp_path)
    yield target
    target.journal.close()


def test_validly_signed_nonsense_is_found_and_crashes_neither_engine_nor_store(target, tmp_path):
    lines = [split(note)[0] for note in NOTES]
    outcomes = Counter()
    store = ParquetStore(tmp_path / "view")
    kernels = compiled()

    def attempt(rng):
        place = rng.randrange(len(lines))
        line = mutate_line(lines[place], rng, rng.choice(lines))
        if not line.endswith(b"\n"):
            line += b"\n"
        try:
            note = sign(line, KEY)
        except MeterprintError:
            outcomes["cannot be signed"] += 1
            return
        found = verdict(note)
        if isinstance(found, Quarantined):
            assert found.reason in ("too_large", "malformed"), found
            outcomes[found.reason] += 1
            return
        notes = [*NOTES[:place], note, *NOTES[place + 1 :]]
        if found.fault:
            outcomes["linked to nothing"] += 1
            if found.fault not in ("another site", "another agent"):
                with pytest.raises(WireError):
                    parse(line)
            if rng.random() > 0.02:
                return
        else:
            outcomes["taken"] += 1
            store.append(chunks_of(parse(line)))
        plain, rules = target.hit(notes, kernels=compiled() if rng.random() < 0.5 else kernels)
        outcomes.update(rules.keys())
        assert plain

    attempts(COUNT // 4, 2, attempt)
    reached("signed nonsense as envelopes", COUNT // 4)
    store.flush()
    assert outcomes["taken"] > 0
    assert outcomes["linked to nothing"] > 0


def test_the_torture_set_signed_by_an_enrolled_agent_links_nothing(shared):
    for data in torture(shared / "reference/evidence"):
        try:
            note = sign(data.replace(b"\n", b" ") + b"\n", KEY)
        except MeterprintError:
            continue
        found = verdict(note)
        assert isinstance(found, Quarantined) or found.fault


BODIES = {
    "plant_model": PLANT,
    "factor_set": {"rows": [FACTOR]},
    "certificate_recorded": {
        "instrument": "m", "kind": "calibration", "k": "2",
        "points": [{"load": "1", "error_percent": "0.5", "u_percent": "0.2"}],
    },
    "instrument_exchanged": {"closing": {"e": 100}, "opening": {"e": 0}, "ratio": "40"},
    "chain_closed": {"agent": "a", "stream": "l"},
    "batch_started": {"product": "p"},
    "batch_ended": {"good": "10", "scrap": "1"},
}  # fmt: skip


def as_body(value):
    """The value as a fact's body comes out of the journal; None where it cannot be one."""
    try:
        body = loads(json.dumps(value).encode())
    except MeterprintError:
        return None
    return body if isinstance(body, dict) else None


def test_facts_with_any_body_are_understood_or_named():
    readings = MemoryReadings()
    readings.add_table(identity(render_table(TABLE)), TABLE)
    for note in NOTES:
        text = split(note)[0]
        readings.add_envelope(identity(text), parse(text))
    outcomes = Counter()

    def attempt(rng):
        facts = []
        hit = rng.choice(list(BODIES))
        for kind, stated in BODIES.items():
            body = stated
            chain = "production/l" if kind.startswith("batch") else "registry"
            seq = sum(1 for fact in facts if fact.header.chain == chain)
            start = {"batch_started": 100 * S, "batch_ended": 200 * S}.get(kind, 0)
            if kind == hit:
                body = as_body(mutate_json(stated, rng))
                if body is None:
                    outcomes["cannot be a body"] += 1
                    return
                if rng.random() < 0.1:
                    start = rng.choice((None, 0, 2**63 - 1, 1))
            subject = "b1" if kind.startswith("batch") else "m"
            header = FactHeader(SITE, chain, kind, seq, "", start, None, None, "t", "", "")
            facts.append(Fact(header, f"{chain}{seq}", subject, body))
        knowledge = Knowledge(facts)
        engine = Engine(knowledge, readings)
        for batch in engine.batches():
            result = engine.batch(batch.id)
            if result is not None:
                result.digest()
                outcomes[result.state.value] += 1
        for book in books(engine):
            assert book.residual == 0
        outcomes.update({finding.rule for finding in knowledge.all_findings()})

    attempts(COUNT // 4, 3, attempt)
    reached("facts with any body", COUNT // 4)
    assert outcomes["unreadable_fact"] > 0


def test_batch_events_of_any_shape_are_taken_or_refused_with_their_field(tmp_path):
    ring = Keyring.open(tmp_path / "keys", SITE)
    journal = Journal(tmp_path / "journal.db", SITE, ring.checkpoints)
    writer = FactWriter(journal, ring)
    writer.found("t")
    events = BatchEvents(journal, writer, lambda: ["l"])
    base = {"id": "1", "line": "l", "batch": "b", "product": "p", "event": "start",
            "good": "1", "scrap": "0", "t": "2026-01-01T00:00:00Z"}  # fmt: skip
    outcomes = Counter()

    def attempt(rng):
        body = mutate_json(
            dict(base, id=str(rng.random()), event=rng.choice(("start", "end"))), rng
        )
        try:
            events.take(body if isinstance(body, dict) else {}, "t")
        except InputError:
            outcomes["refused"] += 1
        else:
            outcomes["taken"] += 1

    attempts(min(COUNT // 4, 20_000), 4, attempt)
    reached("batch events of any shape", min(COUNT // 4, 20_000))
    shell = EngineShell(journal)
    shell.catch_up()
    shell.refresh()
    assert outcomes["refused"] > outcomes["taken"] > 0
    assert shell.entry_findings == []
    journal.close()


def test_a_mutation_can_be_repeated_from_its_seed():
    first = [mutate_bytes(NOTES[0], random.Random(7), NOTES[1]) for _ in range(2)]
    assert first[0] == first[1]
    assert json.dumps(mutate_json(PLANT, random.Random(9))) == json.dumps(
        mutate_json(PLANT, random.Random(9))
    )
