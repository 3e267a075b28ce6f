"""Holes in chains: what is missing, when it is asked for, and that the agent still has it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.outbox import Outbox
from ingest.runs import extend
from ingest.wants import AT_ONCE, LONGEST_PAUSE_S, MOST_KNOWN, MOST_OPEN, Wants, holes
from mrv.envelope import Head, parse
from mrv.receipt import parse_receipt
from mrv.verification.note import open_note, split
from tests.ingest.test_receiver import bench

__all__ = ["bench"]
E = "e" * 16


@given(st.sets(st.integers(0, 60)), st.integers(0, 60))
def test_runs_and_holes_make_up_all_numbers(held, last):
    runs = []
    for seq in held:
        extend(runs, seq, str(seq))
    missing = {n for first, end in holes(tuple(runs), last) for n in range(first, end + 1)}
    assert missing == set(range(last + 1)) - held


def saw(wants, sent, now):
    wants.saw([parse(split(sent.note)[0])], now)


def test_a_hole_is_given_time_then_asked_for_with_longer_pauses_until_it_closes(bench):
    sent = bench.envelopes(6)
    wants = Wants(bench.journal.runs, patience=5)
    for place in (0, 3, 5):
        bench.take(sent[place].note)
        saw(wants, sent[place], 0.0)
    assert wants.due(4.9) == []
    assert wants.due(5.0) == [("agent-1", "line-1", [[E, 1, 2], [E, 4, 4]])]
    assert wants.due(14.9) == []
    assert wants.due(15.0) != []
    assert wants.due(34.9) == []
    bench.take(sent[1].note, sent[2].note)
    assert wants.due(35.0) == [("agent-1", "line-1", [[E, 4, 4]])]
    bench.take(sent[4].note)
    assert wants.due(LONGEST_PAUSE_S * 9) == []
    assert wants.open == 0


def test_a_first_envelope_asks_for_the_epoch_it_follows(bench):
    old = bench.envelopes(3)
    new = bench.envelopes(1, after=Head(E, 2, old[2].identity), epoch="f" * 16, start=9)
    wants = Wants(bench.journal.runs, patience=1)
    bench.take(old[0].note, new[0].note)
    saw(wants, new[0], 0.0)
    assert wants.due(1.0) == [("agent-1", "line-1", [[E, 1, 2]])]


def test_a_long_hole_is_asked_for_in_portions(bench):
    (first,) = bench.envelopes(1)
    wants = Wants(lambda *_: ((9000, 9000, ""),), patience=1)
    wants._last["agent-1", "line-1", E] = 9000
    saw(wants, first, 0.0)
    ((_, _, rows),) = wants.due(1.0)
    assert rows == [[E, 0, AT_ONCE - 1]]


def test_what_has_a_receipt_is_still_sent_when_it_is_wanted(bench, tmp_path):
    sent = bench.envelopes(5)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.commit(sent)
    ((_, _, note),) = bench.receiver.receipts(bench.take(*(e.note for e in sent)))
    outbox.release(parse_receipt(open_note(note, [bench.ring.receipts.public]).text), 1)
    assert outbox.depth() == 0
    assert [o.note for o in outbox.range("line-1", E, 1, 3)] == [e.note for e in sent[1:4]]
    outbox.close()


def test_an_agent_that_opens_chain_after_chain_is_watched_within_bounds(bench):
    wants = Wants(lambda *_: (), patience=1.0)
    (sent,) = bench.envelopes(1)
    envelope = parse(split(sent.note)[0])
    for number in range(MOST_KNOWN + 500):
        wants.saw([replace(envelope, epoch=f"{number:016x}")], 0.0)
    assert wants.open == MOST_OPEN
    assert len(wants._last) == MOST_KNOWN
    wants.saw([replace(envelope, agent="another")], 0.0)
    assert wants.open == MOST_OPEN + 1
    wants.due(2.0)
    wants._runs = lambda *_: ((0, 0, ""),)
    wants.due(4.0)
    assert wants.open == 0
    assert wants._watched.total() == 0
