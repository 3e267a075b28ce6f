"""A site never begins again under its old name, and a revoked agent is heard no more."""

from __future__ import annotations

import json
import shutil

import pytest

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.acceptance import Accepted, judge
from ingest.broker import find_mosquitto
from ingest.facts import FactWriter
from ingest.journal import Journal
from ingest.keyring import Keyring
from meterprint.backup import backup, restore
from meterprint.diagnosis import FAIL
from meterprint.doctor import diagnose
from meterprint.site import open_journal, open_site
from mrv.envelope import Clock, ClockState
from mrv.errors import InputError, MeterprintError
from mrv.fact import REGISTRY
from mrv.verification.note import SecretKey
from tests.conftest import missing
from tests.meterprint.processes import MINIMAL, ask, refused, run, serving, until

CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")
OTHERS = ("facts.key", "receipts.key", "checkpoints.key", "salt")


@pytest.fixture
def state(tmp_path):
    open_site(tmp_path / "state", "s").close()
    return tmp_path / "state"


def size(state):
    journal = open_journal(state)
    try:
        return journal.size
    finally:
        journal.close()


@pytest.mark.parametrize("lost", ["gone", "empty"])
def test_a_site_whose_journal_is_lost_begins_no_second_one_of_that_name(state, lost):
    """Two journals of one origin contradict each other; only a restored one may go on."""
    journal = state / "journal.db"
    journal.unlink()
    if lost == "empty":
        journal.touch()
    for words in (("keys", "show"), ("journal", "check"), ("batch", "list"), ("rebuild",)):
        assert "restore" in refused(*words, "--state", state)
    assert not journal.exists() or not journal.stat().st_size
    told = {one.id: one for one in diagnose(state)}["journal"]
    assert told.result == FAIL
    assert "restore" in told.remedy


@pytest.mark.parametrize("name", OTHERS)
def test_a_lost_key_is_named_and_never_made_anew(state, name):
    (state / "keys" / name).unlink()
    said = refused("keys", "show", "--state", state)
    assert name in said
    assert "backup" in said
    assert not (state / "keys" / name).exists()


@pytest.mark.parametrize("name", ["root.key", *OTHERS])
def test_a_key_that_is_none_is_named_with_its_file(state, name):
    (state / "keys" / name).write_bytes(b"\x00\xffnonsense\n")
    said = refused("keys", "show", "--state", state)
    assert name in said
    assert "backup" in said
    told = {one.id: one for one in diagnose(state)}["keys"]
    assert (told.result, name in told.seen) == (FAIL, True)


@pytest.mark.parametrize("role", ["facts", "receipts", "checkpoints"])
def test_another_key_of_that_name_is_refused(state, tmp_path, role):
    """Nobody would believe what it signs."""
    Keyring.open(tmp_path / "other", "s")
    shutil.copy(tmp_path / "other" / f"{role}.key", state / "keys" / f"{role}.key")
    assert f"{role}.key" in refused("keys", "show", "--state", state)


def test_the_root_key_may_be_kept_offline(state, tmp_path):
    shown = run("keys", "show", "--state", state).stdout
    kept = tmp_path / "root.key"
    (state / "keys" / "root.key").rename(kept)
    assert run("keys", "show", "--state", state).stdout == shown
    key = SecretKey.generate("gw").public
    entries = size(state)
    assert "root.key" in refused("enrol-agent", key.vkey, "--state", state)
    assert size(state) == entries
    backup(state, tmp_path / "b.zip")
    with pytest.raises(InputError, match="root key"):
        restore(tmp_path / "b.zip", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    again = restore(tmp_path / "b.zip", tmp_path / "again", root_key=kept)
    assert again.origin == "s/journal-2"
    assert not (tmp_path / "again" / "keys" / "root.key").exists()
    assert run("keys", "show", "--state", tmp_path / "again").stdout == shown
    with pytest.raises(MeterprintError, match="not of s/root"):
        restore(
            tmp_path / "b.zip",
            tmp_path / "third",
            root_key=tmp_path / "again" / "keys" / "facts.key",
        )


@pytest.mark.parametrize("facts", range(4))
def test_a_site_that_was_killed_while_its_keys_were_enrolled_goes_on_with_it(tmp_path, facts):
    keys = Keyring.open(tmp_path / "keys", "s")
    journal = Journal(tmp_path / "journal.db", "s", keys.checkpoints)
    writer = FactWriter(journal, keys)
    for role in ("root", "facts", "receipts", "checkpoints")[:facts]:
        writer.enrol(role, getattr(keys, role).public, "test")
    journal.close()
    (tmp_path / "site.json").write_text(json.dumps({"site": "s", "state": 2}))
    site = open_site(tmp_path)
    assert site.journal.chain_length(REGISTRY)[0] == 4
    site.close()


def envelope(key, seq=0):
    chain = StreamChain("s", f"l{seq}", key, "", None)
    return chain.cut([RawReading("m.e", 10**18 + seq, 0, seq)], CLOCK)[0].note


def test_what_a_revoked_key_signs_is_refused_by_name_and_its_successor_is_heard(state):
    old, new, other = (SecretKey.generate(name) for name in ("gw", "gw", "hall"))
    for key in (old, new, other):
        run("enrol-agent", key.public.vkey, "--state", state)
    gone = json.loads(
        run("revoke-agent", "gw", "--key", old.public.vkey, "--json", "--state", state).stdout
    )
    assert gone == [{"agent": "gw", "vkey": old.public.vkey}]

    def judged(site, key):
        found = judge(
            envelope(key), key.name, "s", site.keys_of, revoked_keys_of=site.revoked_keys_of
        )
        return "" if isinstance(found, Accepted) else found.reason

    site = open_site(state)
    assert [judged(site, k) for k in (old, new, other)] == ["revoked_key", "", ""]
    assert judged(site, SecretKey.generate("gw")) == "bad_signature"
    assert site.agents() == ("gw", "hall")
    site.revoke_agent("gw")
    assert [judged(site, k) for k in (old, new, other)] == ["revoked_key", "revoked_key", ""]
    assert site.agents() == ("hall",)
    site.enrol_agent(old.public)
    assert [judged(site, k) for k in (old, new)] == ["", "revoked_key"]
    site.close()
    assert "hall" in refused("revoke-agent", "nobody", "--state", state)


@pytest.mark.slow
@pytest.mark.broker
def test_a_running_site_notices_who_is_enrolled_and_revoked_beside_it(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    from tests.ingest.test_bridge import Publisher

    plant = tmp_path / "plant.yaml"
    plant.write_text(MINIMAL % 1)
    key, state = SecretKey.generate("gw"), tmp_path / "state"
    with serving(tmp_path, "--plant", plant, "--state", state) as (process, url, port, _):

        def entries():
            text = ask(f"{url}metrics")[1]
            (line,) = [x for x in text.splitlines() if x.startswith("meterprint_journal_entries ")]
            return float(line.split()[1])

        def counted(reason):
            return f'quarantined_total{{reason="{reason}"}} 1.0' in ask(f"{url}metrics")[1]

        def sent():  # again and again, as an agent does: nobody may have listened to the first
            publisher.send(("meterprint/1/s/gw/readings/l0", envelope_0))
            return entries()

        publisher, envelope_0 = Publisher(port), envelope(key)
        before = entries()
        run("enrol-agent", key.public.vkey, "--state", state)
        until(process, entries, lambda n: n == before + 1)
        until(process, sent, lambda n: n == before + 2)
        run("revoke-agent", "gw", "--state", state)
        until(process, entries, lambda n: n == before + 3)
        publisher.send(("meterprint/1/s/gw/readings/l1", envelope(key, 1)))
        until(process, lambda: counted("revoked_key"), bool)
        assert entries() == before + 3
        publisher.close()
