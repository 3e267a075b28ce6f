"""A bundle says when a key was revoked: what it signed before holds, what came after is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from footprint.bundle import MANIFEST, BundleFiles, key_fact_file
from footprint.verify import verify
from ingest.entry import Draft, EntryKind
from mrv.verification.container import read, write
from mrv.verification.note import PublicKey, SecretKey, sign
from tests.footprint.test_engine import PLANT, steady
from tests.path.small_site import SmallSite
from tests.path.test_bundles import bundle_of, verdict_of

OLD = Path(__file__).parent / "layout_1"
"""A bundle and its root key, made by the program before layout 2 (commit 0cd0d56)."""
CUT = 3
"""Envelopes of the meter before the key is revoked; the batch draws on some of either side."""


def site_of(folder):
    """A site whose one meter was read over a batch; the readings come in two halves."""
    site = SmallSite(folder, PLANT)
    site.cfg = site.table()
    site.whole = site.drafts("m", steady(0, 900), cfg=site.cfg)
    site.run("air", steady(0, 900, rate=2), cfg=site.cfg)
    site.batch("mine", 110, 180, good="10")
    site.site.journal.append(site.whole[:CUT])
    return site


def rest(site):
    site.site.journal.append(site.whole[CUT:])


def check(verdict, name="keys_in_force"):
    return next(c for c in verdict.checks if c.id == name)


def failed(verdict):
    return [c.id for c in verdict.checks if c.result == "fail"]


def signed_again(site, data, change, layout=2):
    """The bundle with its files changed and a manifest of that layout, signed by the site."""
    files = read(data)
    change(files)
    held = BundleFiles({k: v for k, v in files.items() if k != MANIFEST})
    text = held.manifest("small.example", "mine").replace(b'"v":2', b'"v":%d' % layout)
    return write({**held.files, MANIFEST: sign(text, site.site.keyring.checkpoints)})


@pytest.fixture
def site(tmp_path):
    site = site_of(tmp_path)
    yield site
    site.close()


def test_what_a_key_signed_before_it_was_revoked_stays_valid(site):
    rest(site)
    site.site.revoke_agent("agent-1")
    verdict = verdict_of(site, bundle_of(site))
    assert verdict.ok
    assert check(verdict).result == "pass"
    assert check(verdict).actual == "1 keys, 1 of them revoked later"


def test_what_a_revoked_key_signed_is_refused_where_the_journal_took_it_in_afterwards(site):
    site.site.revoke_agent("agent-1")
    revoked = site.site.journal.size - 1
    rest(site)  # as a site would that believes a stolen key; the times in it are old ones
    data = bundle_of(site)
    verdict = verdict_of(site, data)
    assert not verdict.ok
    assert failed(verdict) == ["keys_in_force"]
    assert check(verdict).file.startswith("envelopes/m/")
    assert f"as entry {revoked + 1}" in check(verdict).actual
    assert f"to {revoked - 1}" in check(verdict).expected


def test_a_table_that_a_revoked_key_signed_is_refused_too(site):
    rest(site)
    site.site.revoke_agent("agent-1")
    (name,) = [n for n in read(bundle_of(site)) if n.startswith("tables/")]
    journal = site.site.journal
    table = journal.entry(json.loads(read(bundle_of(site))[name])["index"])
    journal.append([Draft(EntryKind.TABLE, table.note, "ab" * 32)])  # sent once more, too late
    verdict = verdict_of(site, bundle_of(site))
    assert failed(verdict) == ["keys_in_force"]
    assert check(verdict).file == f"tables/{'ab' * 32}.json"
    assert f"as entry {journal.size - 1}" in check(verdict).actual


def test_a_key_that_is_enrolled_again_was_not_in_force_in_between(site):
    site.site.revoke_agent("agent-1")
    site.site.journal.append(site.whole[CUT : CUT + 1])
    site.site.enrol_agent(site.key.public)
    site.site.journal.append(site.whole[CUT + 1 :])
    verdict = verdict_of(site, bundle_of(site))
    assert failed(verdict) == ["keys_in_force"]
    between = site.site.journal.index_of(site.whole[CUT].identity)
    assert f"as entry {between}" in check(verdict).actual


def test_readings_on_either_side_of_a_revocation_that_was_taken_back_hold(site):
    site.site.revoke_agent("agent-1")
    site.site.enrol_agent(site.key.public)
    rest(site)
    verdict = verdict_of(site, bundle_of(site))
    assert verdict.ok
    assert check(verdict).result == "pass"


def test_a_place_that_is_left_out_or_is_not_the_fact_s_own_shows(site):
    rest(site)
    (revocation,) = site.site.revoke_agent("agent-1")
    data = bundle_of(site)
    names = sorted(n for n in read(data) if n.startswith("key-facts/"))
    assert len(names) == 2
    assert revocation == site.key.public

    def without(name):
        return lambda files: files.pop(name)

    for name in names:
        verdict = verdict_of(site, signed_again(site, data, without(name)))
        assert failed(verdict) == ["keys_in_force"]
        assert "is left out" in check(verdict).actual

    def swapped(files):
        files[names[0]], files[names[1]] = files[names[1]], files[names[0]]

    def moved(files):
        record = json.loads(files[names[1]])
        files[names[1]] = json.dumps({**record, "index": record["index"] - 1}).encode() + b"\n"

    def beyond(files):
        files[key_fact_file(10**7)] = files[names[1]]

    def named(files):
        files["key-facts/x.json"] = files[names[1]]

    for change in (swapped, moved, beyond, named):
        verdict = verdict_of(site, signed_again(site, data, change))
        assert failed(verdict) == ["keys_in_force"], change
        assert check(verdict).file.startswith("key-facts/")


def test_a_bundle_shows_the_places_of_its_own_signers_alone(site):
    for name in ("other", "third"):
        site.site.enrol_agent(SecretKey.generate(name).public)
    rest(site)
    shown = [json.loads(c) for n, c in read(bundle_of(site)).items() if n.startswith("key-facts/")]
    assert [row["index"] for row in shown] == [6]
    assert site.key.public.vkey.encode() not in json.dumps(shown).encode()  # ids are salted


def test_a_bundle_made_before_layout_2_still_verifies():
    trust = PublicKey.parse((OLD / "root.vkey").read_text().strip())
    verdict = verify((OLD / "mine.zip").read_bytes(), trust)
    assert verdict.ok
    assert check(verdict).result == "pass"
    assert check(verdict).actual == "1 keys, none of them revoked"


def test_in_layout_1_it_cannot_be_told_when_a_key_was_revoked_and_the_verdict_says_so(site):
    def no_places(files):
        for name in [n for n in files if n.startswith("key-facts/")]:
            del files[name]

    rest(site)
    data = signed_again(site, bundle_of(site), no_places, layout=1)
    assert check(verdict_of(site, data)).result == "pass"
    site.site.revoke_agent("agent-1")
    verdict = verdict_of(site, signed_again(site, bundle_of(site), no_places, layout=1))
    assert verdict.ok
    assert check(verdict).result == "not_checkable"
    assert site.key.public.vkey in check(verdict).actual


def test_a_layout_this_program_does_not_know_is_named(site):
    rest(site)
    verdict = verdict_of(site, signed_again(site, bundle_of(site), lambda _: None, layout=3))
    assert failed(verdict) == ["manifest"]
    assert "layout 3" in check(verdict, "manifest").actual
