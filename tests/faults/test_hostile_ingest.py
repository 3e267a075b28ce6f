"""Hostile messages through the whole of ingest: each has its outcome, none frees or replaces."""

from __future__ import annotations

import os
import random
import string
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from footprint.knowledge import Knowledge
from ingest.broker import find_mosquitto
from ingest.entry import EntryKind
from ingest.facts import FactWriter, read_fact
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from ingest.receiver import Message, Receiver
from meterprint.live import LiveSite
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.errors import MeterprintError
from mrv.receipt import parse_receipt
from mrv.verification.note import SecretKey, open_note, sign, split, written
from tests.conftest import missing
from tests.faults.direct import Direct
from tests.faults.figures import Progress, reached
from tests.faults.hostile import RAW, attempts, mutate_bytes, mutate_line, torture
from tests.faults.test_hostile import FACTOR, PLANT

COUNT = int(os.environ.get("METERPRINT_HOSTILE", "4000"))
TOPICS = int(os.environ.get("METERPRINT_HOSTILE_TOPICS", "400"))
GROUP = 100
MAY_GROW = 96_000_000
"""Bytes the process may grow by while it takes in a storm of any length: far more than the
allocator's own breathing, far less than a hundred bytes kept of each of a million messages."""
KEPT = 300
"""Messages the quarantine keeps here."""
REASONS = {"too_large", "malformed", "unknown_agent", "bad_signature"}


def resident():
    """Memory of this process, bytes (proc(5), statm: the second figure, in pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_storm_of_forgeries_frees_nothing_replaces_nothing_and_stays_in_its_bounds(tmp_path):
    plant = Direct(tmp_path, 2000)
    plant.read(0, 800)
    quarantine = Quarantine(tmp_path / "storm.db", max_rows=KEPT, max_bytes=200_000)
    receiver = Receiver(
        plant.site.journal, quarantine, plant.site.keyring.receipts, plant.site.keys_of
    )
    key = plant.site.keyring.receipts.public
    pending = plant.outbox.pending(limit=1000)
    real = {sent.identity: sent for sent in pending}
    notes = [sent.note for sent in pending]
    choice = random.Random(11)
    due = list(real.values())
    choice.shuffle(due)
    kept: dict[str, bytes] = {}
    outcomes: Counter[str] = Counter()
    early = 0
    rounds = COUNT // GROUP
    progress = Progress("forgeries", COUNT)
    for number in range(rounds):
        agent = choice.choice(("agent-1", "agent-1", "agent-1", "nobody"))
        payloads = [
            mutate_bytes(choice.choice(notes), choice, choice.choice(notes)) for _ in range(GROUP)
        ]
        payloads[0] = b"x" * choice.choice((0, 1, 65_536, 65_537, 200_000))
        genuine = [due.pop().note] if due and number % max(1, rounds // 200) == 0 else []
        messages = [Message(agent, "readings", f"t/{agent}", p) for p in payloads]
        messages += [Message("agent-1", "readings", "t/agent-1", note) for note in genuine]
        choice.shuffle(messages)
        before = receiver.tally.quarantined.total()
        committed = receiver.take(messages)
        refused = receiver.tally.quarantined.total() - before
        assert refused + len(committed) == len(messages)
        for item in committed:
            name = item.accepted.draft.identity
            assert name in real  # nothing but what the agent signed
            assert item.message.payload == real[name].note
            kept.setdefault(name, item.message.payload)
            outcomes["new" if item.new else "again"] += 1
        for _, _, note in receiver.receipts(committed):
            receipt = parse_receipt(open_note(note, [key]).text)
            assert {identity for _, _, identity in receipt.ranges} <= set(kept)
            assert set(receipt.also) <= set(kept)
            plant.outbox.release(receipt, 1)
        still = {sent.identity for sent in plant.outbox.pending(limit=1000)}
        assert set(real) - still <= set(kept)  # freed only what is in the journal
        if number == rounds // 5:
            early = resident()
        progress.at((number + 1) * GROUP)
    assert resident() - early < MAY_GROW
    assert set(receiver.tally.quarantined) <= REASONS
    assert set(receiver.tally.quarantined) == set(quarantine.counts())
    assert receiver.tally.quarantined == Counter(quarantine.counts())
    assert len(quarantine.recent(10_000)) <= KEPT
    for entry in plant.site.journal.entries():
        name = entry.identity
        if name in kept:
            assert entry.note == kept[name] == real[name].note  # byte for byte
    for sent in pending:  # and each real one is received when it comes
        committed = receiver.take([Message("agent-1", "readings", "t", sent.note)])
        for _, _, note in receiver.receipts(committed):
            plant.outbox.release(parse_receipt(open_note(note, [key]).text), 1)
    assert plant.outbox.depth() == 0 or {m.stream for m in plant.outbox.pending()} == {""}
    assert plant.site.journal.verify() == []
    quarantine.close()
    plant.close()
    reached("forgeries", rounds * GROUP)


def test_a_genuine_note_with_something_added_to_its_signatures_is_refused(tmp_path):
    plant = Direct(tmp_path, 2000)
    plant.read(0, 8)
    table, sent = plant.outbox.pending(limit=2)
    text, (line,) = split(sent.note)
    (foreign,) = split(sign(text, SecretKey.generate("evil")))[1]
    spoilt = replace(line, signature=bytes(64))
    copies = [
        text + b"\n" + written(lines)
        for lines in ([foreign, line], [line, foreign], [line, line], [line, spoilt])
    ]
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    last = letters[letters.index(chr(sent.note[-3])) + 1]  # one of the bits base64 leaves unused
    copies.append(sent.note[:-3] + last.encode() + sent.note[-2:])
    assert open_note(copies[-1], [plant.key.public]).text == text
    for copy in copies:
        assert plant.receiver.take([Message("agent-1", "readings", "t", copy)]) == []
    assert plant.receiver.tally.quarantined == {"bad_signature": len(copies)}
    committed = plant.receiver.take([Message("agent-1", "readings", "t", sent.note)])
    assert [item.new for item in committed] == [True]
    assert table.stream == ""
    plant.close()


def test_an_envelope_repeated_on_the_birth_topic_is_an_envelope_and_a_table_a_table(tmp_path):
    plant = Direct(tmp_path, 2000)
    plant.read(0, 8)
    table, sent = plant.outbox.pending(limit=2)
    swapped = [
        Message("agent-1", "birth", "t", sent.note),
        Message("agent-1", "readings", "t", table.note),
    ]
    committed = plant.receiver.take(swapped)
    assert [item.accepted.draft.kind for item in committed] == [EntryKind.ENVELOPE, EntryKind.TABLE]
    assert [item.accepted.fault for item in committed] == ["", ""]
    runs = plant.site.journal.runs("agent-1", sent.stream, sent.epoch)
    assert runs == ((0, 0, sent.identity),)
    plant.deliver()
    found = plant.findings()
    assert "unreadable_entry" not in found
    assert plant.site.engine.reading_count == 8
    plant.close()


def test_no_changed_receipt_frees_an_envelope(tmp_path):
    plant = Direct(tmp_path, 2000)
    plant.read(0, 400)
    sent = plant.outbox.pending(limit=1000)
    key = plant.site.keyring.receipts.public
    receipts = []
    for one in sent[1::2]:  # every second one is received
        committed = plant.receiver.take([Message("agent-1", "readings", "t", one.note)])
        receipts += [note for _, _, note in plant.receiver.receipts(committed)]
    received = {one.identity for one in sent[1::2]}
    outcomes: Counter[str] = Counter()

    def attempt(rng):
        note = mutate_bytes(rng.choice(receipts), rng, rng.choice(receipts))
        if rng.random() < 0.2:  # or one that somebody else has signed
            line = mutate_line(split(rng.choice(receipts))[0], rng, b"x")
            note = sign(
                line if line.endswith(b"\n") else line + b"\n", SecretKey.generate(key.name)
            )
        try:
            receipt = parse_receipt(open_note(note, [key]).text)
        except MeterprintError as error:
            outcomes[type(error).__name__] += 1
            return
        plant.outbox.release(receipt, 1)
        outcomes["genuine"] += 1

    attempts(COUNT // 4, 23, attempt)
    assert outcomes.total() == COUNT // 4
    still = {one.identity for one in plant.outbox.pending(limit=1000)}
    assert {one.identity for one in sent} - still <= received
    assert still >= {one.identity for one in sent[0::2]}
    plant.close()
    reached("changed receipts", COUNT // 4)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Genuine facts of the registry and a line, as the journal has them, and the key of facts."""
    folder = tmp_path_factory.mktemp("facts")
    ring = Keyring.open(folder / "keys", "x")
    journal = Journal(folder / "journal.db", "x", ring.checkpoints)
    writer = FactWriter(journal, ring)
    writer.found("t")
    writer.record("registry", "plant_model", "x", PLANT, author="t", valid_from=0)
    writer.record("registry", "factor_set", "s", {"rows": [FACTOR]}, author="t")
    body = {"product": "p"}
    writer.record("production/l", "batch_started", "b1", body, author="t", valid_from=10**11)
    body = {"good": "10"}
    writer.record("production/l", "batch_ended", "b1", body, author="t", valid_from=2 * 10**11)
    entries = list(journal.entries())
    journal.close()
    return entries, ring


def test_no_changed_fact_is_ever_read_as_another_one(facts):
    entries, ring = facts
    keys = [ring.facts.public, ring.root.public]
    outcomes: Counter[str] = Counter()

    def attempt(rng):
        entry, other = rng.choice(entries), rng.choice(entries)
        note, body, salt = entry.note, entry.body, entry.body_salt
        part = rng.randrange(3)
        if part == 0:
            note = mutate_bytes(note, rng, other.note)
        elif part == 1:
            body = mutate_bytes(body, rng, other.body)
        else:
            salt = mutate_bytes(salt, rng, other.body_salt)
        try:
            open_note(note, keys)
            fact = read_fact(note, body, salt, 0)
        except MeterprintError as error:
            outcomes[type(error).__name__] += 1
            return
        genuine = read_fact(entry.note, entry.body, entry.body_salt, 0)
        if fact != genuine:  # spliced into the whole of the other one
            genuine = read_fact(other.note, other.body, other.body_salt, 0)
        assert fact == genuine
        outcomes["genuine"] += 1

    attempts(COUNT // 2, 21, attempt)
    assert outcomes.total() == COUNT // 2
    assert outcomes["genuine"] < COUNT // 10
    reached("changed facts", COUNT // 2)


def test_validly_signed_nonsense_as_a_fact_is_named_or_found(facts):
    entries, ring = facts
    outcomes: Counter[str] = Counter()
    genuine = [read_fact(e.note, e.body, e.body_salt, e.index) for e in entries]

    def attempt(rng):
        place = rng.randrange(len(entries))
        entry = entries[place]
        lines = [split(e.note)[0] for e in entries]
        line = mutate_line(lines[place], rng, rng.choice(lines))
        try:
            note = sign(line if line.endswith(b"\n") else line + b"\n", ring.facts)
            fact = read_fact(note, entry.body, entry.body_salt, place)
        except MeterprintError as error:
            outcomes[type(error).__name__] += 1
            return
        outcomes["read"] += 1
        if rng.random() < 0.2:
            found = Knowledge([*genuine[:place], fact, *genuine[place + 1 :]]).all_findings()
            outcomes.update({finding.rule for finding in found})

    attempts(COUNT // 4, 22, attempt)
    assert outcomes["read"] > 0
    reached("signed nonsense as facts", COUNT // 4)


KINDS = ("readings/l", "readings/%", "birth", "state", "batch-events")
DEEP = (b"[" * 100_000, b'{"a":' * 100_000, b'"' + b"9" * 200_000, b"-" + b"9" * 5000, b"NaN")


@pytest.mark.slow
@pytest.mark.broker
def test_no_payload_on_any_topic_stops_ingest(tmp_path, shared):
    if find_mosquitto() is None:
        missing("mosquitto")
    (tmp_path / "plant.yaml").write_text(
        "site: x\nlines: [{id: l}]\nproducts: [{id: p, unit: piece}]\n"
        "instruments:\n  - id: m\n    registers:"
        " [{id: e, kind: counter, unit: kWh, resolution: 0.1}]\n"
        "sources: [{id: e, line: l, instrument: m, register: e}]\n"
    )
    site = open_site(tmp_path / "state", "x")
    site.state_plant(load_plant(tmp_path / "plant.yaml"), 0)
    key = SecretKey.generate("a")
    site.enrol_agent(key.public)
    live = LiveSite(site)
    rng = random.Random(31)
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    done = threading.Event()
    client.on_message = lambda *_: done.set()
    client.connect("127.0.0.1", live.broker.port)
    client.loop_start()
    payloads = [*torture(shared / "reference/evidence"), *RAW, *DEEP]
    chosen = [rng.choice(payloads) for _ in range(TOPICS)] + list(DEEP) * len(KINDS)
    last = None
    sent = Counter()
    for number, payload in enumerate(chosen):
        kind = KINDS[number % len(KINDS)]
        agent = rng.choice(("a", "a", "stranger", "é", "x" * 200, f"n{number}"))
        signed = payload
        if agent == "a" and rng.random() < 0.5:
            try:
                signed = sign(payload.replace(b"\n", b" ") + b"\n", key)
            except MeterprintError:
                signed = payload
        last = client.publish(f"meterprint/1/x/{agent}/{kind}", signed, qos=1)
        sent[kind] += 1
    last.wait_for_publish(60)
    body = b'{"id":"1","line":"l","batch":"b","product":"p","event":"start","t":"0"}'
    client.publish("meterprint/1/x/a/batch-events", body, qos=1)
    client.subscribe("meterprint/1/x/a/receipt/+", 1)
    line = b'{"v":1}\n'
    client.publish("meterprint/1/x/a/readings/l", sign(line, key), qos=1)
    try:
        for _ in range(1200):
            if "1" in site.events._seen and done.is_set():
                break
            done.wait(0.05)
            threading.Event().wait(0.02)
        assert done.is_set()
        assert "1" in site.events._seen
        assert set(live.agent_states) <= {"a"}
        assert set(site.quarantine.counts()) <= REASONS | {"event_refused"}
        assert site.journal.verify() == []
    finally:
        client.disconnect()
        client.loop_stop()
        live.close()
        site.close()
    reached("hostile messages by topic", len(chosen))
