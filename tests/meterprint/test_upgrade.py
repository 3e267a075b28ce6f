"""A state directory of version 1 becomes one of this version: same root, proofs and figures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import apsw
import pytest

from edge_agent.chain import StreamChain
from footprint.plant_reading import read_plant
from footprint.verify import verify
from ingest import journal_upgrade
from ingest.bundler import make_bundle
from ingest.entry import EntryKind, JournalError
from ingest.journal import Journal
from ingest.keyring import Keyring
from ingest.rotation import rotate
from meterprint.plant_file import PlantFile
from meterprint.site import open_site
from meterprint.upgrade import upgrade_state
from mrv.envelope import Clock, ClockState, parse
from mrv.errors import InputError
from mrv.reporting.completeness import chain_link
from mrv.verification.checkpoint import parse_checkpoint
from mrv.verification.merkle import Frontier, Tree, verify_inclusion
from mrv.verification.note import SecretKey, open_note, split
from tests.conftest import REPO
from tests.faults.drilled_site import FACTOR, PLANT
from tests.faults.processes import AGENT, SITE, reading, table
from tests.ingest.journals import draft

VERSION_1 = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE entry(
  idx INTEGER PRIMARY KEY, kind INTEGER NOT NULL, salt BLOB NOT NULL, note BLOB NOT NULL,
  identity BLOB NOT NULL, leaf BLOB NOT NULL, body BLOB, body_salt BLOB);
CREATE UNIQUE INDEX entry_identity ON entry(identity);
CREATE TABLE envelope(
  idx INTEGER PRIMARY KEY, agent TEXT NOT NULL, stream TEXT NOT NULL, epoch TEXT NOT NULL,
  seq INTEGER NOT NULL, prev TEXT NOT NULL, t_first INTEGER NOT NULL, t_last INTEGER NOT NULL);
CREATE INDEX envelope_place ON envelope(agent, stream, epoch, seq);
CREATE TABLE fact(
  idx INTEGER PRIMARY KEY, chain TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE UNIQUE INDEX fact_place ON fact(chain, seq);
"""
"""The tables as version 1 of the program made them."""


def facts(site):
    plant, faults = read_plant(PLANT)
    assert faults == []
    site.state_plant(PlantFile(site.state, plant, PLANT, (("x", (FACTOR,)),), ()), 0)
    for number in range(3):
        base = {"line": "l", "batch": f"b{number}"}
        start, end = (number * 180 + 30) * 10**9, (number * 180 + 170) * 10**9
        event = {**base, "id": f"s{number}", "event": "start", "product": "p", "t": str(start)}
        site.events.take(event, "test")
        event = {**base, "id": f"e{number}", "event": "end", "good": "7", "t": str(end)}
        site.events.take(event, "test")


def envelopes(site):
    from ingest.entry import Draft
    from mrv.channel import render_table
    from mrv.verification.note import identity, sign

    key = SecretKey(AGENT, bytes(range(32)))
    site.enrol_agent(key.public)
    text = render_table(table())
    drafts = [Draft(EntryKind.TABLE, sign(text, key), identity(text))]
    chain = StreamChain(SITE, "line", key, identity(text), None, boot="b")
    clock = Clock(ClockState.SYNCHRONISED, 5, "test")
    rows = [reading(i) for i in range(6000)]
    for start in range(0, len(rows), 20):
        drafts += [draft(out.note) for out in chain.cut(rows[start : start + 20], clock)]
    unread = b'{"not":"an envelope"}\n'
    drafts.append(Draft(EntryKind.ENVELOPE, sign(unread, key), identity(unread)))
    twin = StreamChain(SITE, "line", key, "", None, epoch="e" * 16, boot="b")
    other = StreamChain(SITE, "line", key, "cd" * 32, None, epoch="e" * 16, boot="b")
    drafts += [draft(c.cut([reading(0), reading(1)], clock)[0].note) for c in (twin, other)]
    site.journal.append(drafts)


def as_version_1(state):
    """Write the journal of a state directory the way version 1 would have kept it."""
    path = state / "journal.db"
    journal = Journal(path, SITE, Keyring.open(state / "keys", SITE).checkpoints)
    entries, checkpoint = list(journal.entries()), journal.checkpoint()
    leaves = [journal.tree()._node(0, index) for index in range(journal.size)]
    journal.close()
    path.unlink()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode=WAL")
    for statement in VERSION_1.split(";\n"):
        db.execute(statement)
    frontier = Frontier()
    with db:
        for entry, leaf in zip(entries, leaves, strict=True):
            identity = bytes.fromhex(entry.identity)
            row = (entry.index, int(entry.kind), entry.salt, entry.note, identity, leaf)
            db.execute(
                "INSERT INTO entry VALUES(?,?,?,?,?,?,?,?)", (*row, entry.body, entry.body_salt)
            )
            frontier.append(leaf)
            text = split(entry.note)[0]
            if entry.kind is EntryKind.FACT:
                fact = json.loads(text)
                db.execute(
                    "INSERT INTO fact VALUES(?,?,?)", (entry.index, fact["chain"], fact["seq"])
                )
            elif entry.kind is EntryKind.ENVELOPE and b"not" not in text:
                link = chain_link(parse(text), entry.identity)
                db.execute(
                    "INSERT INTO envelope VALUES(?,?,?,?,?,?,?,?)",
                    (entry.index, link.agent, link.stream, link.epoch, link.seq, link.prev,
                     link.t_first, link.t_last),
                )  # fmt: skip
        for name, value in (("site", SITE), ("schema", 1), ("frontier", frontier.to_bytes()),
                            ("checkpoint", checkpoint)):  # fmt: skip
            db.execute("INSERT INTO meta VALUES(?,?)", (name, value))
    db.close()
    (state / "site.json").write_text(json.dumps({"site": SITE, "state": 1}))


def figures(site):
    site.refresh()
    return {name: result.digest() for name, result in site.engine.results.items()}


def stand(site):
    journal = site.journal
    heads = (journal.chain_heads(), journal.stream_heads())
    place = (AGENT, "line", journal.stream_heads()[0].epoch)
    entries = [replace(entry, kind=int(entry.kind)) for entry in journal.entries()]
    proofs = [journal.tree().inclusion_proof(i, journal.size) for i in range(0, journal.size, 11)]
    return journal.root(), heads, journal.runs(*place), entries, proofs


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    state = tmp_path_factory.mktemp("version-1") / "state"
    site = open_site(state, SITE)
    facts(site)
    envelopes(site)
    before = (stand(site), figures(site))
    site.close()
    as_version_1(state)
    return state, before


@pytest.fixture
def old(template, tmp_path):
    state, before = template
    return shutil.copytree(state, tmp_path / "state"), before


def test_an_upgrade_changes_neither_root_nor_proofs_nor_figures(old):
    state, before = old
    with pytest.raises(InputError, match="layout 1") as caught:
        open_site(state)
    assert "meterprint upgrade" in caught.value.hint
    command = [sys.executable, "-m", "meterprint.cli", "upgrade", "--json", "--state", str(state)]
    run = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert (answer["before"], answer["after"], answer["root"]) == (1, 2, before[0][0].hex())
    site = open_site(state)
    assert (stand(site), figures(site)) == before
    assert len(before[1]) == 3
    assert site.journal.verify() == []
    note = site.journal._db.execute("SELECT value FROM meta WHERE name='checkpoint'").fetchone()[0]
    checkpoint = parse_checkpoint(open_note(note, (site.keyring.checkpoints.public,)).text)
    assert (checkpoint.size, checkpoint.root) == (site.journal.size, before[0][0])
    site.close()
    again = upgrade_state(state)
    assert (again.before, again.kept) == (2, "")


def test_the_old_journal_stays_and_its_proofs_still_hold(old):
    state, before = old
    done = upgrade_state(state)
    db = apsw.Connection(done.kept)
    leaves = [row[0] for row in db.execute("SELECT leaf FROM entry ORDER BY idx")]
    db.close()
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    assert tree.root() == before[0][0]
    for number, index in enumerate(range(0, len(leaves), 11)):
        verify_inclusion(leaves[index], index, len(leaves), before[0][4][number], tree.root())


STEPS = ("_enter", "_swap", "_remove", "_sync")


@pytest.mark.parametrize("step", STEPS)
def test_an_upgrade_that_was_cut_short_is_begun_anew(old, monkeypatch, step):
    state, before = old
    whole = getattr(journal_upgrade, step)
    for cut in range(1, 6):
        calls = 0

        def stopped(*arguments):
            nonlocal calls
            calls += 1
            if calls == cut:  # noqa: B023
                raise KeyboardInterrupt
            return whole(*arguments)

        monkeypatch.setattr(journal_upgrade, step, stopped)
        try:
            upgrade_state(state)
        except KeyboardInterrupt:
            continue
        break
    assert cut > 1
    monkeypatch.setattr(journal_upgrade, step, whole)
    upgrade_state(state)
    site = open_site(state)
    assert stand(site) == before[0]
    assert site.journal.verify() == []
    assert not list(state.glob("*.upgrading*"))
    site.close()


def test_a_journal_in_use_is_left_alone(old):
    state, _ = old
    holder = apsw.Connection(str(state / "journal.db"))
    holder.execute("PRAGMA journal_mode=WAL")
    rows = holder.execute("SELECT idx FROM entry")
    next(rows)
    with pytest.raises(JournalError, match="in use") as caught:
        upgrade_state(state)
    assert "stop the site" in caught.value.hint
    rows.close()
    holder.close()
    assert json.loads((state / "site.json").read_text())["state"] == 1
    assert upgrade_state(state).before == 1


@pytest.mark.parametrize("column", ["salt", "note", "body"])
def test_an_altered_journal_is_not_upgraded(old, column):
    state, _ = old
    db = apsw.Connection(str(state / "journal.db"))
    value = bytearray(db.execute(f"SELECT {column} FROM entry WHERE idx=1").fetchone()[0])
    value[20] ^= 1
    db.execute(f"UPDATE entry SET {column}=? WHERE idx=1", (bytes(value),))
    db.close()
    with pytest.raises(JournalError, match="not what was entered"):
        upgrade_state(state)
    assert json.loads((state / "site.json").read_text())["state"] == 1


def test_a_bundle_is_the_same_to_the_byte_from_cold_files_and_from_an_upgraded_journal(tmp_path):
    state = tmp_path / "state"
    site = open_site(state, SITE)
    facts(site)
    envelopes(site)

    def bundle(opened):
        opened.refresh()
        with opened.engine.held() as engine:
            return make_bundle(opened.journal, opened.keyring, engine, "b1")

    before = bundle(site)
    assert rotate(site.journal, 0, whole_parts=False).entries == 256
    assert bundle(site) == before
    site.close()
    reopened = open_site(state)
    assert bundle(reopened) == before
    reopened.close()
    verdict = verify(before, reopened.keyring.root.public)
    assert [c.id for c in verdict.checks if c.result == "fail"] == []
    as_version_1(state)
    upgrade_state(state)
    upgraded = open_site(state)
    assert upgraded.journal.parts() == ()
    assert bundle(upgraded) == before
    upgraded.close()
