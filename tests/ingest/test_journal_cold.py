"""Cold files: the same journal, in little space, and nothing is believed that is not proven."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import cold_file
from ingest.cold_codec import Stored, pack, unpack
from ingest.cold_sections import ColdDataError
from ingest.entry import JournalError
from ingest.journal import Journal
from ingest.rotation import PART, Policy, due, rotate
from mrv.verification.merkle import BLOCK, Tree, verify_inclusion
from tests.ingest.journals import SITE, Plant, content, draft, fill, open_journal


def stored(note):
    text = note[: note.rfind(b"\n\n") + 1]
    return Stored(1, os.urandom(32), note, hashlib.sha256(text).digest())


def test_a_block_comes_back_byte_for_byte_in_a_fifth_of_the_space():
    plant = Plant(streams=3, registers=5)
    entries = [stored(plant.envelope(rows=20)) for _ in range(BLOCK)]
    packed = pack(entries, [b"abcd"] * BLOCK)
    assert unpack(packed) == (entries, [b"abcd"] * BLOCK)
    readings = BLOCK * 100
    assert len(packed) / readings <= 6
    assert len(packed) < sum(len(e.note) for e in entries) / 5


ODD = (
    b'{"prev":"' + b"0" * 64 + b'","t":"007","mono":"1"}\n',
    b'{"t":"9223372036854775807","mono":"9999999999999999999"}\n',
    b'{"cols":[{"ch":"a","t0":"1","dt":[0,01],"v":[1,2]}]}\n',
    b'{"cols":[{"ch":"a","t0":"1","dt":[0],"v":[-0]}]}\n',
    b'{"cols":[{"ch":"a","t0":"1","dt":[0,1,2],"v":[-5]}]}\n',
    b'{"cols":[{"ch":"a","t0":"1","dt":[9223372036854775807],"v":[-9223372036854775808]}]}\n',
    b'{"cols":[{"ch":"a","t0":"1","dt":[99999999999999999999999],"v":[1]}]}\n',
    b'{"cols":[{"ch":"a","t0":"1","dt":[,],"v":[--]}]}\n',
    b'{"ch":"","t0":"0","dt":[0],"v":[0]}{"ch":"","t0":"0","dt":[0],"v":[0]}\n',
    b"\x00\x01\x02\x03\x04\x05\x06\n",
    b"\xff\xfe\n",
    b"\n",
)
TAILS = (
    b"\n\xe2\x80\x94 a " + b"A" * 91 + b"=\n",
    b"\n\xe2\x80\x94 a " + b"A" * 90 + b"B=\n",
    b"\n\xe2\x80\x94 a short\n",
    b"",
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ODD), st.sampled_from(TAILS), st.binary(max_size=30)),
                min_size=1, max_size=12))  # fmt: skip
def test_whatever_bytes_an_entry_has_they_come_back(parts):
    entries = [stored(middle + text + tail) for text, tail, middle in parts]
    assert unpack(pack(entries, [b""] * len(entries)))[0] == entries


@settings(deadline=None)
@given(st.data())
def test_a_damaged_block_is_refused_or_gives_other_entries_but_never_crashes(data):
    plant = Plant(seed=4)
    entries = [stored(plant.envelope()) for _ in range(20)]
    packed = bytearray(pack(entries, [b"abcd"] * 20))
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    try:
        found, checks = unpack(bytes(packed))
    except ColdDataError:
        return
    assert (found, checks) != (entries, [b"abcd"] * 20)


@pytest.fixture
def journal(tmp_path):
    journal, ring = open_journal(tmp_path)
    fill(journal, ring, 1100, Plant())
    yield journal
    journal.close()


def test_a_rotated_journal_answers_as_before_and_takes_less_room(journal):
    before = content(journal)
    tree = Tree()
    for entry in journal.entries():
        tree.append(cold_file.leaf_of(Stored(entry.kind, entry.salt, entry.note, b"")))
    used = journal.bytes_in_use()
    done = rotate(journal, 200, whole_parts=False)
    assert (done.parts, done.entries, done.hot_start) == (1, 768, 768)
    assert content(journal) == before
    assert journal.verify() == []
    assert journal.bytes_in_use() < used / 2
    reopened = Journal(journal.path, SITE, journal._key)
    assert content(reopened) == before
    index, size = 300, journal.size
    proof = reopened.tree().inclusion_proof(index, size)
    assert proof == tree.inclusion_proof(index, size)
    verify_inclusion(tree._node(0, index), index, size, proof, reopened.root())
    reopened.close()


def test_a_rotated_journal_grows_on_and_knows_what_it_holds(journal):
    old = [draft(e.note) for e in journal.entries(5, 60) if e.kind == 1]
    rotate(journal, 0, whole_parts=False)
    size = journal.size
    assert all(not new for _, new in journal.append(old))
    fresh = Plant(seed=9).envelope()
    assert journal.append([draft(fresh), old[0], draft(fresh)])[::2] == [
        (size, True),
        (size, False),
    ]
    rotate(journal, 0, whole_parts=False)
    assert journal.verify() == []


def test_only_full_parts_are_sealed_of_a_running_site(journal):
    assert due(journal, 0) == []
    assert due(journal, 0, whole_parts=False) == [(0, 1024)]
    assert Policy().keep(10**6, 10) == 65_536
    assert Policy(bytes=1000).keep(4000, 400) == 100
    assert PART % BLOCK == 0


def test_a_missing_cold_file_is_named_with_its_entries(journal):
    rotate(journal, 300, whole_parts=False)
    part = journal.parts()[0]
    (journal.cold_folder / part.file).rename(journal.cold_folder / "gone")
    fresh = Journal(journal.path, SITE, journal._key)
    with pytest.raises(JournalError, match=part.file) as caught:
        list(fresh.entries())
    assert caught.value.hint
    faults = fresh.faults()
    assert {(f.first, f.last) for f in faults} >= {(0, part.stop - 1)}
    assert all(part.file in str(f) for f in faults)
    assert len(list(fresh.facts())) > 4
    fresh.append([draft(Plant(seed=9).envelope())])
    fresh.close()


def test_a_file_that_reads_back_otherwise_is_not_sealed(journal, monkeypatch):
    whole = cold_file.write_cold

    def damaged(path, *rest):
        written = whole(path, *rest)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        return written

    monkeypatch.setattr(cold_file, "write_cold", damaged)
    before = content(journal)
    with pytest.raises(JournalError, match="stay in the database"):
        rotate(journal, 0, whole_parts=False)
    assert journal.parts() == ()
    assert list(journal.cold_folder.glob("*.cold*")) == []
    assert content(journal) == before


def test_an_entry_that_is_not_what_was_entered_is_not_sealed(journal):
    journal._db.execute("UPDATE entry SET salt=? WHERE idx=77", (bytes(32),))
    with pytest.raises(JournalError, match="entry 77"):
        rotate(journal, 0, whole_parts=False)
    assert journal.hot_start == 0
    assert [(f.first, f.last) for f in journal.faults()] == [(77, 77)]


KILLED = """
import sys
from pathlib import Path
from ingest import journal as j, rotation, cold_file
from tests.ingest.journals import open_journal
step, calls = int(sys.argv[2]), 0
def dying(function):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == step:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call
for owner, name in ((j.Journal, "hot_block"), (j.Journal, "drop_block"), (j.Journal, "seal"),
                    (cold_file, "write_cold"), (rotation, "sync_folder"), (Path, "rename")):
    setattr(owner, name, dying(getattr(owner, name)))
opened, _ = open_journal(Path(sys.argv[1]))
rotation.rotate(opened, 0, whole_parts=False)
print("done", calls)
"""


@pytest.mark.slow
def test_a_rotation_killed_at_any_step_loses_nothing_and_is_taken_up_again(tmp_path):
    journal, ring = open_journal(tmp_path)
    fill(journal, ring, 600, Plant())
    before = content(journal)
    journal.close()
    killed = 0
    for step in range(1, 40):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(step)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        journal, _ = open_journal(tmp_path)
        assert content(journal) == before
        assert journal.verify() == []
        journal.close()
        if run.returncode == 0:
            break
        assert run.returncode == -9, run.stderr
        killed += 1
    assert killed >= 5
    journal, _ = open_journal(tmp_path)
    assert journal.hot_start == 512
    assert (
        journal._db.execute("SELECT count(*) FROM entry WHERE kind=1 AND idx<512").fetchone()[0]
        == 0
    )
    assert [path.suffix for path in journal.cold_folder.iterdir() if path.name != "lock"] == [
        ".cold"
    ]
    journal.close()
