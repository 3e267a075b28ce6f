"""Every flipped bit of a sealed journal is noticed, and the entry it hit is named where it can be.

The oracle is a dump of all tables read without the program's own code: a flip that changes nothing
any table says (slack of a page, a counter of the database's own) need not be noticed; every other
one must be, and an entry whose row reads otherwise than before must be among those named.
"""

from __future__ import annotations

import os
import random
import shutil

import apsw
import pytest

from ingest.cold_file import ColdFile, ColdFileError
from ingest.journal import Journal, JournalError
from ingest.keyring import Keyring
from ingest.rotation import rotate
from tests.faults.figures import reached
from tests.ingest.journals import SITE, Plant, fill, open_journal

FLIPS = int(os.environ.get("METERPRINT_FLIPS", "40"))
"""In the database and as many in the cold file; the long form makes 2,000 of each."""
TABLES = ("meta", "origin", "run", "envelope", "apart", "fact", "chain", "block", "finger", "part")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed")
    journal, ring = open_journal(folder)
    fill(journal, ring, 420, Plant())
    rotate(journal, 150, whole_parts=False)
    assert journal.hot_start == 256
    journal.checkpoint()
    fill_more = Plant(seed=5)
    fill(journal, ring, 460, fill_more)
    journal._db.execute("VACUUM")  # so that few flips hit pages that hold nothing
    assert journal.verify() == []
    journal.close()
    return folder


def read(db, sql, values=()):
    try:
        return db.execute(sql, values).fetchall()
    except (apsw.Error, UnicodeDecodeError, ValueError) as error:
        return f"unreadable: {type(error).__name__}"


def dump(path):
    """(tables, entry rows) of a database as they read; None where it is no database."""
    try:
        db = apsw.Connection(str(path))
        db.execute("SELECT * FROM sqlite_schema").fetchall()
    except (apsw.Error, UnicodeDecodeError):
        return None
    tables = {name: read(db, f"SELECT * FROM {name}") for name in (*TABLES, "sqlite_schema")}
    by_place = "SELECT idx FROM fact INDEXED BY fact_place ORDER BY chain, seq"
    tables["fact_place"] = read(db, by_place)
    by_name = "SELECT id FROM origin INDEXED BY sqlite_autoindex_origin_1 ORDER BY agent, stream"
    tables["origins"] = read(db, by_name)
    tables["count"] = read(db, "SELECT count(*), min(idx), max(idx) FROM entry")
    entries = {idx: read(db, "SELECT * FROM entry WHERE idx=?", (idx,)) for idx in range(460)}
    every = read(db, "SELECT idx FROM entry ORDER BY idx")
    db.close()
    return tables, entries, every


def flipped(folder, target, name, bit):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    path = target / name
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return path


def judged(folder):
    """Faults of the journal in `folder`, or the error that keeps it from opening."""
    ring = Keyring.open(folder / "keys", SITE)
    try:
        journal = Journal(folder / "journal.db", SITE, ring.checkpoints)
    except JournalError as error:
        return None, str(error)
    try:
        return journal.faults(), ""
    finally:
        journal.close()


def test_each_flipped_bit_of_the_database_is_noticed_and_named(sealed, tmp_path):
    choice = random.Random(20261125)
    size = (sealed / "journal.db").stat().st_size
    whole = dump(sealed / "journal.db")
    outcomes = {"refused": 0, "named": 0, "noticed": 0, "nothing changed": 0}
    for number in range(FLIPS):
        bit = choice.randrange(8 * size)
        where = f"flip {number}: bit {bit}, page {bit // 8 // 8192 + 1}"
        path = flipped(sealed, tmp_path / "hit", "journal.db", bit)
        after = dump(path)
        faults, error = judged(tmp_path / "hit")
        if faults is None:
            assert error, where
            outcomes["refused"] += 1
            continue
        if not faults:
            assert after == whole, where
            outcomes["nothing changed"] += 1
            continue
        assert all(str(fault) for fault in faults)
        changed = [] if after is None else [i for i in whole[1] if after[1][i] != whole[1][i]]
        named = [(f.first, f.last) for f in faults if f.first is not None]
        missed = [i for i in changed if not any(a <= i <= b for a, b in named)]
        assert not missed, (where, missed, [str(f) for f in faults])
        outcomes["named" if named else "noticed"] += 1
    assert sum(outcomes.values()) == FLIPS
    for name, count in outcomes.items():
        reached(f"flips of the journal {name}", count)
    assert outcomes["named"] >= FLIPS // 2, outcomes


def test_each_flipped_bit_of_a_cold_file_is_noticed_and_its_entries_named(sealed, tmp_path):
    choice = random.Random(7)
    name = next((sealed / "journal-cold").glob("*.cold")).name
    whole = ColdFile(sealed / "journal-cold" / name).block(0)[0]
    size = (sealed / "journal-cold" / name).stat().st_size
    exact = 0
    for number in range(FLIPS):
        bit = choice.randrange(8 * size)
        path = flipped(sealed, tmp_path / "hit", f"journal-cold/{name}", bit)
        faults, error = judged(tmp_path / "hit")
        assert faults is not None, error
        of_file = [f for f in faults if f.file == name]
        assert of_file, number
        assert all(f.first is not None and 0 <= f.first <= f.last < 256 for f in of_file)
        try:
            changed = {i for i, e in enumerate(ColdFile(path).block(0)[0]) if e != whole[i]}
        except ColdFileError:
            continue
        single = {f.first for f in of_file if f.first == f.last}
        assert changed <= single, (number, changed - single)
        exact += bool(changed)
    assert exact >= 3 * FLIPS // 4  # the others to the block of 256
    reached("flips of a cold file named to the entry", exact)
    reached("flips of a cold file named to the block", FLIPS - exact)


def test_a_flipped_entry_never_reaches_a_reader_of_a_cold_file(sealed, tmp_path):
    name = next((sealed / "journal-cold").glob("*.cold")).name
    data = (sealed / "journal-cold" / name).read_bytes()
    salt = ColdFile(sealed / "journal-cold" / name).block(0)[0][77].salt
    bit = 8 * data.index(salt) + 3
    flipped(sealed, tmp_path / "hit", f"journal-cold/{name}", bit)
    ring = Keyring.open(tmp_path / "hit" / "keys", SITE)
    journal = Journal(tmp_path / "hit" / "journal.db", SITE, ring.checkpoints)
    with pytest.raises(JournalError, match=r"entries 0 to 255 .* not what was entered"):
        journal.entry(70)
    assert [str(f) for f in journal.faults() if f.first == f.last] == [
        f"entry 77 in {name}: is not what was entered"
    ]
    journal.close()
