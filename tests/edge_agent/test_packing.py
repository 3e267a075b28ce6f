"""Notes are kept packed and come out byte for byte, also those an earlier version kept."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.outbox import Outbox, Outgoing
from edge_agent.packing import packed, unpacked
from mrv.verification.note import identity, split
from tests.ingest.journals import Plant


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_come_back(note):
    assert unpacked(packed(note)) == note


def outgoing(note, seq):
    return Outgoing("line", "e" * 16, seq, identity(split(note)[0]), note, 5)


def test_an_outbox_gives_back_what_was_signed_in_half_the_space(tmp_path):
    plant = Plant(streams=1, registers=5)
    notes = [plant.envelope(rows=20) for _ in range(20)]
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.commit([outgoing(note, seq) for seq, note in enumerate(notes)])
    assert [m.note for m in outbox.pending()] == notes
    kept = outbox._db.execute("SELECT sum(length(note)) FROM message").fetchone()[0]
    assert kept < sum(map(len, notes)) / 2
    outbox._db.execute("UPDATE message SET note=? WHERE seq=3", (notes[3],))
    assert [m.note for m in outbox.everything()] == notes
    cut_off = packed(notes[4])[:-9]
    outbox._db.execute("UPDATE message SET note=? WHERE seq=4", (cut_off,))
    assert [m.note for m in outbox.everything()] == [*notes[:4], cut_off, *notes[5:]]
    outbox.close()
