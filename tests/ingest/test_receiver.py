"""Bad input at ingest: each fault has a named outcome and nothing is lost."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from edge_agent.chain import StreamChain
from edge_agent.outbox import Outbox, Outgoing
from edge_agent.source import RawReading
from footprint.timeline import Timeline
from ingest.batch_events import BatchEvents
from ingest.engine_shell import EngineShell
from ingest.facts import FactWriter, load_facts
from ingest.journal import Journal, JournalError
from ingest.keyring import Keyring
from ingest.quarantine import Quarantine
from ingest.receiver import Message, Receiver
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, Head
from mrv.errors import InputError
from mrv.receipt import parse_receipt
from mrv.verification.note import SecretKey, identity, open_note, sign, split

SITE = "test-site"
S = 10**9
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")


class Bench:
    """A journal, a receiver and an agent that signs."""

    def __init__(self, folder):
        self.ring = Keyring.open(folder / "keys", SITE)
        self.journal = Journal(folder / "journal.db", SITE, self.ring.checkpoints)
        self.writer = FactWriter(self.journal, self.ring)
        self.writer.found("test")
        self.quarantine = Quarantine(folder / "quarantine.db", max_rows=5)
        self.key = SecretKey.generate("agent-1")
        self.receiver = Receiver(
            self.journal,
            self.quarantine,
            self.ring.receipts,
            lambda name: [self.key.public] if name == "agent-1" else [],
        )

    def chain(self, after=None, epoch=None):
        return StreamChain(
            SITE, "line-1", self.key, "", after, now=lambda: 5 * S, epoch=epoch or "e" * 16
        )

    def envelopes(self, count, after=None, epoch=None, start=0):
        chain = self.chain(after, epoch)
        sent = []
        for i in range(count):
            reading = RawReading("m.energy", (start + i) * S, 0, 100 * (start + i))
            sent += chain.cut([reading], CLOCK)
        return sent

    def take(self, *notes, agent="agent-1", kind="readings"):
        messages = [Message(agent, kind, f"t/{agent}", note) for note in notes]
        return self.receiver.take(messages)

    def close(self):
        self.quarantine.close()
        self.journal.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_a_receipt_names_what_is_held_and_frees_the_outbox(bench, tmp_path):
    sent = bench.envelopes(5)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.commit(sent)
    committed = bench.take(*(e.note for e in sent[:2]), sent[4].note)
    ((agent, stream, note),) = bench.receiver.receipts(committed)
    receipt = parse_receipt(open_note(note, [bench.ring.receipts.public]).text)
    assert (agent, stream) == ("agent-1", "line-1")
    assert receipt.ranges == ((0, 1, sent[1].identity), (4, 4, sent[4].identity))
    assert outbox.release(receipt, 1) == 3
    assert [e.seq for e in outbox.pending()] == [2, 3]
    outbox.close()


def test_any_order_of_arrival_gives_the_same_runs(bench):
    sent = bench.envelopes(8)
    order = list(sent)
    random.Random(3).shuffle(order)
    for envelope in order:
        bench.take(envelope.note)
    assert bench.journal.runs("agent-1", "line-1", "e" * 16) == ((0, 7, sent[7].identity),)


def test_a_replayed_envelope_is_entered_once_and_receipted_again(bench):
    (sent,) = bench.envelopes(1)
    first, again = bench.take(sent.note), bench.take(sent.note)
    assert first[0].new
    assert not again[0].new
    assert again[0].index == first[0].index
    assert bench.receiver.receipts(again)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda note: note.replace(b'"v":[0]', b'"v":[1]'), "bad_signature"),
        (lambda note: note[:-10] + b"\n", "malformed"),
        (lambda note: b"not a note", "malformed"),
        (lambda note: b"\xff\xfe" + note, "malformed"),
        (lambda note: note + b"x" * 70_000, "too_large"),
    ],
)
def test_a_spoilt_envelope_is_quarantined_counted_and_never_receipted(bench, spoil, reason):
    (sent,) = bench.envelopes(1)
    size = bench.journal.size
    committed = bench.take(spoil(sent.note))
    assert committed == []
    assert bench.receiver.receipts(committed) == []
    assert bench.journal.size == size
    assert bench.quarantine.counts() == {reason: 1}


def test_a_wrong_key_and_an_unknown_agent_are_quarantined(bench):
    stranger = SecretKey.generate("agent-1")
    (sent,) = bench.envelopes(1)
    text = open_note(sent.note, [bench.key.public]).text
    assert bench.take(sign(text, stranger)) == []
    assert bench.take(sent.note, agent="nobody") == []
    assert bench.quarantine.counts() == {"bad_signature": 1, "unknown_agent": 1}


def test_the_quarantine_is_bounded_but_counts_all(bench):
    for i in range(20):
        bench.take(b"rubbish %d" % i)
    assert bench.quarantine.counts() == {"malformed": 20}
    assert len(bench.quarantine.recent()) <= 6


def test_validly_signed_nonsense_is_journalled_and_receipted_by_identity(bench):
    text = b'{"v":1,"hello":NaN}\n'
    committed = bench.take(sign(text, bench.key))
    assert committed[0].new
    ((_, stream, note),) = bench.receiver.receipts(committed)
    receipt = parse_receipt(open_note(note, [bench.ring.receipts.public]).text)
    assert stream == ""
    assert receipt.also == (identity(text),)
    shell = EngineShell(bench.journal)
    shell.catch_up()
    assert {f.rule for f in shell.findings()} == {"unreadable_entry"}


def test_any_number_of_unreadable_entries_makes_one_finding_an_agent(bench, tmp_path):
    indexes = []
    for number in range(30):
        taken = bench.take(sign(b'{"v":1,"hello":%d}\n' % number, bench.key))
        indexes.append(str(taken[0].index))
        for sent in bench.envelopes(1) if number % 10 == 0 else ():
            bench.take(sent.note)
    whole = EngineShell(bench.journal)
    whole.catch_up()
    (found,) = whole.entry_findings
    assert found.subject == bench.key.name
    assert found.numbers[:3] == (("entries", "30"), ("first", indexes[0]), ("last", indexes[-1]))
    stored = EngineShell(bench.journal, folder=tmp_path)
    stored.close()
    again = EngineShell(bench.journal, folder=tmp_path)
    assert again.entry_findings == whole.entry_findings
    again.rebuild()
    assert again.entry_findings == whole.entry_findings
    again.close()


def test_an_equivocation_is_kept_twice_and_found(bench):
    (first,) = bench.envelopes(1)
    chain = bench.chain(epoch="e" * 16)
    (second,) = chain.cut([RawReading("m.energy", 0, 0, 999)], CLOCK)
    assert first.identity != second.identity
    assert [c.new for c in bench.take(first.note, second.note)] == [True, True]
    shell = EngineShell(bench.journal)
    shell.catch_up()
    assert "equivocation" in {f.rule for f in shell.findings()}


def test_an_outbox_restored_from_a_backup_shows_as_a_fork(bench):
    before = bench.envelopes(3)
    head = Head("e" * 16, 1, before[1].identity)
    restored = bench.envelopes(2, after=head, epoch="f" * 16, start=3)
    bench.take(*(e.note for e in (*before, *restored)))
    shell = EngineShell(bench.journal)
    shell.catch_up()
    assert "fork" in {f.rule for f in shell.findings()}


def test_a_full_disk_loses_nothing(bench):
    sent = bench.envelopes(400)
    bench.journal.limit_pages(24)
    with pytest.raises(JournalError, match="refused"):
        bench.take(*(e.note for e in sent))
    size, root = bench.journal.size, bench.journal.root()
    bench.journal.limit_pages(1_000_000)
    assert bench.journal.verify() == []
    assert (bench.journal.size, bench.journal.root()) == (size, root)
    bench.take(*(e.note for e in sent))
    assert bench.journal.runs("agent-1", "line-1", "e" * 16)[0][1] == 399
    assert bench.journal.verify() == []


def test_a_full_disk_at_the_agent_keeps_the_envelopes(tmp_path):
    from edge_agent.agent import Agent

    outbox = Outbox(tmp_path / "outbox.db")
    channels = tuple(
        Channel(name, kind, "m", "m", name[2:], Fraction(1), "kWh", Fraction(1), "", tier)
        for name, kind, tier in (
            ("m.energy", ChannelKind.COUNTER, AssuranceTier.AGENT_SIGNED),
            ("m.power", ChannelKind.GAUGE, AssuranceTier.AGENT_SIGNED),
        )
    )
    table = ChannelTable(SITE, "agent-1", channels)
    streams = {c.name: "line-1" for c in channels}
    agent = Agent(table, streams, SecretKey.generate("agent-1"), outbox, lambda: CLOCK)
    agent.flush()
    outbox.limit_pages(8)
    for i in range(50):
        readings = [RawReading("m.energy", i * S + k, 0, i) for k in range(100)]
        agent.add([*readings, RawReading("m.power", i * S, 0, i)])
        agent.flush()
    assert agent.refused > 0
    assert agent.dropped > 0
    outbox.limit_pages(1_000_000)
    assert agent.flush() > 0
    seqs = [e.seq for e in outbox.pending(limit=10_000) if e.stream == "line-1"]
    assert seqs == list(range(len(seqs)))
    outbox.close()


def test_a_receipt_for_other_bytes_frees_nothing(bench, tmp_path):
    (sent,) = bench.envelopes(1)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.commit([sent])
    forged = Outgoing(sent.stream, sent.epoch, sent.seq, "0" * 64, sent.note, 0)
    committed = bench.take(sent.note)
    ((_, _, note),) = bench.receiver.receipts(committed)
    receipt = parse_receipt(open_note(note, [bench.ring.receipts.public]).text)
    other = type(receipt)(
        receipt.origin,
        receipt.agent,
        receipt.stream,
        receipt.epoch,
        ((0, 0, forged.identity),),
        (),
        receipt.index,
        receipt.size,
    )
    assert outbox.release(other, 1) == 0
    assert outbox.release(receipt, 1) == 1
    outbox.close()


def test_a_table_is_receipted_by_identity(bench):
    text = render_table(ChannelTable(SITE, "agent-1", ()))
    committed = bench.take(sign(text, bench.key), kind="birth")
    ((_, _, note),) = bench.receiver.receipts(committed)
    receipt = parse_receipt(open_note(note, [bench.ring.receipts.public]).text)
    assert receipt.also == (identity(text),)


def test_batch_events_are_idempotent_and_name_their_faults(bench):
    events = BatchEvents(bench.journal, bench.writer, lambda: ["line-1"])
    start = {
        "id": "1",
        "line": "line-1",
        "batch": "b",
        "product": "p",
        "event": "start",
        "t": "2026-11-24T08:00:00+08:00",
    }
    fact, new = events.take(start, "test")
    assert new
    assert events.take(start, "test") == (fact, False)
    with pytest.raises(InputError) as caught:
        events.take({**start, "t": "2026-11-24T09:00:00+08:00"}, "test")
    assert caught.value.field == "id"
    for field, value in (("line", "x"), ("event", "begin"), ("t", "noon"), ("god", "5")):
        with pytest.raises(InputError) as caught:
            events.take({**start, "id": "2", field: value}, "test")
        assert caught.value.field == field
    text = "id,line,batch,event,good,t\n3,line-1,b,end,7,2026-11-24T09:00:00+08:00\n4,line-1\n"
    taken, errors = events.take_csv(text, "events.csv", "test")
    assert taken == 1
    assert [(e.file, e.line) for e in errors] == [("events.csv", 3)]
    timeline = Timeline("line-1", load_facts(bench.journal))
    assert timeline.batches["b"].good == 7_000_000


def test_a_correction_supersedes_and_the_first_statement_stays(bench):
    events = BatchEvents(bench.journal, bench.writer, list)
    base = {"line": "l", "batch": "b"}
    events.take({**base, "id": "1", "event": "start", "product": "p", "t": "1000000000"}, "x")
    wrong, _ = events.take({**base, "id": "2", "event": "end", "good": "5", "t": "2000000000"}, "x")
    fixed = {**base, "id": "3", "event": "end", "good": "6", "t": "2000000000"}
    events.take({**fixed, "supersedes": wrong.header.seq}, "x")
    facts = load_facts(bench.journal)
    assert Timeline("l", facts).batches["b"].good == 6_000_000
    assert len([f for f in facts if f.header.chain == "production/l"]) == 3


def test_the_journal_of_another_site_is_refused(bench, tmp_path):
    other = Keyring.open(tmp_path / "other", "other-site")
    with pytest.raises(JournalError, match="other-site"):
        Journal(tmp_path / "journal.db", "other-site", other.checkpoints)


def test_random_orders_and_twins_end_in_the_same_runs(bench):
    sent = bench.envelopes(30)
    choice = random.Random(7)
    arrivals = list(itertools.chain(sent, choice.choices(sent, k=40)))
    choice.shuffle(arrivals)
    for start in range(0, len(arrivals), 7):
        bench.take(*(e.note for e in arrivals[start : start + 7]))
    assert bench.journal.runs("agent-1", "line-1", "e" * 16) == ((0, 29, sent[29].identity),)
    assert bench.journal.verify() == []


@pytest.mark.parametrize("first", ["forged", "real"])
def test_what_an_agent_signs_in_anothers_name_never_stands_for_the_real_one(tmp_path, first):
    bench = Bench(tmp_path)
    other = SecretKey.generate("agent-2")
    keys = {"agent-1": [bench.key.public], "agent-2": [other.public]}
    bench.receiver = Receiver(
        bench.journal, bench.quarantine, bench.ring.receipts, lambda name: keys.get(name, [])
    )
    sent = bench.envelopes(2)
    text = split(sent[1].note)[0]
    forged = sign(text, other)
    bench.take(sent[0].note)
    notes = {"forged": (forged, "agent-2"), "real": (sent[1].note, "agent-1")}
    order = ["forged", "real"] if first == "forged" else ["real", "forged"]
    taken = {name: bench.take(notes[name][0], agent=notes[name][1])[0] for name in order}
    assert taken["real"].new
    assert taken["forged"].new
    ((agent, _, note),) = bench.receiver.receipts([taken["forged"]])
    receipt = parse_receipt(open_note(note, [bench.ring.receipts.public]).text)
    assert (agent, receipt.agent, receipt.ranges) == ("agent-2", "agent-2", ())
    assert receipt.also == (identity(text),)
    shell = EngineShell(bench.journal)
    shell.catch_up()
    assert shell.reading_count == 2
    assert [f.rule for f in shell.entry_findings] == ["unreadable_entry"]
    assert [link.identity for link in shell.readings.chain("agent-1", "line-1").links()] == [
        e.identity for e in sent
    ]
    bench.close()
