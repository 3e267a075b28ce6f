"""The outbox: what frees it, what is kept how long, and that a deep one is no slower."""

from __future__ import annotations

import random

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.outbox import Outbox, Outgoing, packed, unpacked
from mrv.receipt import Receipt

E = "e" * 16
DAY = 86_400 * 10**9


def message(seq, stream="s", size=100):
    note = random.Random(seq).randbytes(size).hex().encode()
    return Outgoing(stream, E, seq, f"{stream}{seq:063d}", note, seq)


def receipt(*ranges, also=(), stream="s"):
    return Receipt("o", "a", stream, E, tuple(ranges), tuple(also), 0, 0)


def upto(seq, first=0):
    return (first, seq, message(seq).identity)


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path / "outbox.db")
    yield made
    made.close()


def test_depth_is_what_has_no_receipt_also_after_a_new_start(outbox, tmp_path):
    outbox.commit([message(n) for n in range(10)])
    outbox.commit([message(3)])
    assert outbox.depth() == 10
    assert outbox.free([receipt(upto(4)), receipt(upto(4)), receipt(upto(9, 8))], 7) == [
        1,
        2,
        3,
        4,
        5,
        9,
        10,
    ]
    assert outbox.depth() == 3
    again = Outbox(tmp_path / "outbox.db")
    assert again.depth() == 3
    assert [m.seq for m in again.pending()] == [5, 6, 7]
    again.close()


def test_a_commit_or_receipt_the_disk_refuses_counts_nothing(outbox):
    outbox.commit([message(0)])
    outbox.limit_pages(1)
    with pytest.raises(Exception, match="refused"):
        outbox.commit([message(n, size=50_000) for n in range(1, 5)])
    assert outbox.depth() == 1
    outbox.limit_pages(1_000_000)
    outbox.commit([message(1)])
    assert outbox.depth() == 2


def test_a_receipt_for_other_bytes_or_another_stream_frees_nothing(outbox):
    outbox.commit([message(0), message(0, "t")])
    assert outbox.free([receipt((0, 0, "f" * 64)), receipt(upto(0), stream="u")], 1) == []
    assert outbox.free([receipt(also=[message(0, "t").identity])], 1) == [2]


def test_what_has_no_receipt_is_never_pruned_and_the_rest_after_its_floor(outbox):
    outbox.commit([message(n) for n in range(1200)])
    outbox.free([receipt(upto(1099))], 0)
    outbox.free([receipt(upto(1149, 1100))], 5 * DAY)
    assert outbox.prune(6 * DAY) == 0
    assert outbox.prune(8 * DAY) == 1100
    assert [m.seq for m in outbox.everything()] == list(range(1100, 1200))
    assert outbox.prune(8 * DAY, keep_bytes=1) == 50
    assert outbox.depth() == 50


def test_beyond_its_bytes_the_oldest_receipted_go_first_and_only_as_many_as_needed(outbox):
    outbox.commit([message(n, size=10_000) for n in range(1500)])
    outbox.free([receipt(upto(1399))], 1)
    before = outbox.used_bytes()
    deleted = outbox.prune(2, keep_bytes=before // 2)
    assert 500 <= deleted <= 1000
    assert outbox.used_bytes() <= before // 2
    kept = [m.seq for m in outbox.everything()]
    assert kept == list(range(deleted, 1500))


def test_what_was_receipted_is_found_for_a_want_in_portions(outbox):
    outbox.commit([message(n) for n in range(20)])
    outbox.free([receipt(upto(9))], 1)
    assert [m.seq for m in outbox.receipted("s", E, 3, 15, 4)] == [3, 4, 5, 6]
    assert [m.seq for m in outbox.receipted("s", E, 7, 15, 40)] == [7, 8, 9]
    assert outbox.receipted("s", E, 10, 10**15, 40) == []


@given(st.binary(max_size=300).map(lambda b: b"{" + b))
def test_a_note_comes_off_the_disk_byte_for_byte(note):
    assert unpacked(packed(note)) == note
    assert unpacked(note) == note, "as an older outbox holds it"


def test_bytes_a_disk_has_changed_come_as_they_are():
    broken = packed(b"{" * 1000)[:-3]
    assert unpacked(broken) == broken


def test_notes_take_less_room_on_disk_than_on_the_wire(outbox):
    note = b'{"ch":"m.e","v":[1,2,3]}' * 100
    outbox.commit([Outgoing("s", E, 0, "i", note, 0)])
    assert outbox.pending()[0].note == note
    ((size,),) = outbox._db.execute("SELECT length(note) FROM message").fetchall()
    assert size < len(note) // 10


def test_numbers_of_rows_and_tables(outbox):
    assert outbox.newest() == 0
    table = Outgoing("", "", 0, "t" * 64, b"table", 1)
    outbox.commit([table, message(0)])
    assert (outbox.newest(), [t.identity for t in outbox.tables()]) == (2, ["t" * 64])
    outbox.free([receipt(also=["t" * 64], stream="")], 1)
    assert outbox.tables() == []


def test_every_question_of_the_publisher_goes_by_an_index(outbox):
    """Whatever the depth: no statement scans the table or sorts."""
    seen: list[str] = []
    outbox._db.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: seen.append(event["sql"]))
    outbox.commit([message(0), message(1)])
    outbox.pending(0, 10, 5)
    outbox.tables()
    outbox.newest()
    outbox.receipted("s", E, 0, 5, 3)
    outbox.range("s", E, 0, 5)
    outbox.free([receipt(upto(1), also=["x"])], 1)
    outbox.head("s")
    outbox.prune(10 * DAY)
    outbox._db.trace_v2(0)
    asked = {sql for sql in seen if sql.startswith(("SELECT", "UPDATE", "DELETE"))}
    assert len(asked) >= 8
    for sql in asked:
        values = (0,) * sql.count("?")
        plan = [row[3] for row in outbox._db.execute("EXPLAIN QUERY PLAN " + sql, values)]
        for step in plan:
            assert "TEMP B-TREE" not in step, (sql, step)
            assert not step.startswith("SCAN"), (sql, step)
