"""Bundles of small real sites: what they hold, what stays closed, and that they always verify."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from footprint.batch import BatchState
from footprint.key_sheet import KEY_SHEET
from footprint.verify import verify
from ingest.bundler import make_bundle
from mrv.fact import REGISTRY
from mrv.verification.container import read
from tests.footprint.test_engine import PLANT, steady
from tests.path.small_site import SmallSite

SECRETS = ("secret-before", "secret-after", "secret-beside", "4711.25")


def shared_site(folder, plant=PLANT):
    """Two lines share the air; around batch `mine` others ran whose names are nobody's business."""
    site = SmallSite(folder, plant)
    site.run("m", steady(0, 900))
    site.run("air", steady(0, 900, rate=2))
    site.batch("secret-before", 20, 90, good="3")
    site.batch("mine", 110, 180, good="10")
    site.batch("secret-beside", 105, 170, good="4711.25", line="k")
    site.batch("secret-after", 210, 290, good="5", product="q")
    site.site.refresh()
    return site


def bundle_of(site, name="mine", **options):
    site.site.refresh()
    engine = site.site.engine.engine
    return make_bundle(site.site.journal, site.site.keyring, engine, name, **options)


def verdict_of(site, data):
    return verify(data, site.site.keyring.root.public)


def results(verdict):
    return {check.id: check.result for check in verdict.checks}


def test_other_batches_stay_closed_and_the_figure_comes_out_the_same(tmp_path):
    site = shared_site(tmp_path)
    data = bundle_of(site)
    for secret in SECRETS:
        assert secret.encode() not in data
    verdict = verdict_of(site, data)
    assert verdict.ok
    failing = {name: result for name, result in results(verdict).items() if result != "pass"}
    assert failing == {"pool_keys": "not_checkable"}
    assert verdict.result.digest() == site.result("mine").digest()
    site.close()


def test_an_open_pool_shows_the_other_batches_and_every_check_passes(tmp_path):
    site = shared_site(tmp_path)
    data = bundle_of(site, open_pool=True)
    assert b"secret-beside" in data
    assert KEY_SHEET not in read(data)
    assert set(results(verdict_of(site, data)).values()) == {"pass"}
    site.close()


def rewritten(site, data, change):
    """The bundle with one file changed and the manifest signed again by the site itself."""
    from footprint.bundle import MANIFEST, BundleFiles
    from mrv.verification.container import write
    from mrv.verification.note import sign

    files = read(data)
    change(files)
    held = BundleFiles({k: v for k, v in files.items() if k != MANIFEST})
    text = held.manifest("small.example", "mine")
    return write({**held.files, MANIFEST: sign(text, site.site.keyring.checkpoints)})


def change_sheet(change):
    def apply(files):
        sheet = json.loads(files[KEY_SHEET])
        change(sheet["rows"])
        files[KEY_SHEET] = json.dumps(sheet).encode() + b"\n"

    return apply


def test_a_row_left_out_of_the_key_sheet_is_a_batch_left_out(tmp_path):
    site = shared_site(tmp_path)
    data = bundle_of(site)
    for place in range(3):
        lame = rewritten(site, data, change_sheet(lambda rows, place=place: rows.pop(place)))
        failed = [c for c in verdict_of(site, lame).checks if c.result == "fail"]
        assert failed[0].id == "production_complete"
        assert "is left out" in failed[0].actual
    site.close()


def test_another_key_or_body_in_the_key_sheet_shows(tmp_path):
    site = shared_site(tmp_path)
    data = bundle_of(site)

    def other_key(rows):
        rows[2]["key"] = str(int(rows[2]["key"]) + 10**9)

    found = results(verdict_of(site, rewritten(site, data, change_sheet(other_key))))
    assert found["digest"] == "fail"

    def other_body(rows):
        rows[0]["body"] = "0" * 64

    found = results(verdict_of(site, rewritten(site, data, change_sheet(other_body))))
    assert found["pool_keys"] == "fail"

    def nonsense(rows):
        rows[0]["key"] = "-1"

    lame = verdict_of(site, rewritten(site, data, change_sheet(nonsense)))
    assert not lame.ok
    assert KEY_SHEET in {c.file for c in lame.checks}
    site.close()


def left_out(site, data, wanted):
    """The bundle without the files of `wanted(name, content)`, signed again by the site."""

    def apply(files):
        for name in [n for n, c in files.items() if wanted(n, c)]:
            del files[name]

    return rewritten(site, data, apply)


def certificate(site, number, start=0, **body):
    point = {"load": "10", "error_percent": "1", "expanded_percent": "0.2"}
    stated = {"kind": "calibration", "instrument": "m", "points": [point], **body}
    site.site.facts.record(
        REGISTRY, "certificate_recorded", number, stated, author="t", valid_from=start
    )
    site.site.facts.record(REGISTRY, "certificate_approved", number, {"by": "x"}, author="y")


def bodies(word):
    return lambda name, content: "registry.bodies" in name and word in content


def test_a_left_out_revocation_and_a_left_out_newer_certificate_show(tmp_path):
    site = shared_site(tmp_path)
    certificate(site, "C-old")
    certificate(site, "C-new", start=10)
    site.site.facts.record(
        REGISTRY, "certificate_revoked", "C-old", {"by": "withdrawn"}, author="lab", valid_from=5
    )
    data = bundle_of(site)
    assert verdict_of(site, data).ok
    for word in (b"withdrawn", b"C-new"):
        lame = verdict_of(site, left_out(site, data, bodies(word)))
        failed = [c for c in lame.checks if c.result == "fail"]
        assert failed[0].id == "registry_complete"
        assert "is left out" in failed[0].actual
    site.close()


def headers_cut(chain, count):
    def apply(files):
        name = f"facts/{chain}.headers.jsonl"
        lines = files[name].splitlines(keepends=True)
        files[name] = b"".join(lines[: len(lines) - count])
        for other in list(files):
            if other.startswith(f"facts/{chain}.bodies/"):
                seq = int(other.rsplit("/", 1)[1].removesuffix(".json"))
                if seq >= len(lines) - count:
                    del files[other]

    return apply


def test_a_registry_cut_short_of_its_newest_facts_does_not_reach_the_head(tmp_path):
    site = shared_site(tmp_path)
    certificate(site, "C-1")
    data = bundle_of(site)
    found = results(verdict_of(site, rewritten(site, data, headers_cut("registry", 2))))
    assert found["registry_complete"] == "fail"
    site.close()


def test_a_left_out_production_fact_shows(tmp_path):
    site = shared_site(tmp_path)
    data = bundle_of(site)
    found = results(verdict_of(site, rewritten(site, data, headers_cut("production/l", 1))))
    assert found["production_chains"] == "fail"
    without = left_out(
        site, data, lambda name, _: name == "facts/production/l.bodies/00000003.json"
    )
    assert results(verdict_of(site, without))["production_complete"] == "fail"
    site.close()


def test_a_left_out_tail_or_middle_of_readings_shows(tmp_path):
    site = shared_site(tmp_path)
    data = bundle_of(site)
    envelopes = [name for name in sorted(read(data)) if name.startswith("envelopes/m/")]
    assert len(envelopes) > 3
    tail = verdict_of(site, left_out(site, data, lambda name, _: name in envelopes[-2:]))
    assert results(tail)["completeness"] == "fail"
    middle = verdict_of(site, left_out(site, data, lambda name, _: name == envelopes[1]))
    assert results(middle)["envelope_chains"] == "fail"
    site.close()


def test_a_fact_no_figure_rests_on_shows_its_header_alone(tmp_path):
    site = shared_site(tmp_path)
    site.site.facts.record(
        REGISTRY, "opinion_issued", "verifier", {"text": "confidential words"}, author="v"
    )
    data = bundle_of(site)
    assert b"confidential words" not in data
    assert verdict_of(site, data).ok
    site.close()


def test_a_changed_key_rule_opens_the_batches_rather_than_state_two_keys(tmp_path):
    site = shared_site(tmp_path)
    later = {**site.tree, "policy": {**PLANT["policy"], "key": "good_mass"}}
    site.site.facts.record(
        REGISTRY, "plant_model", "small.example", later, author="t", valid_from=150 * 10**9
    )
    data = bundle_of(site)
    assert KEY_SHEET not in read(data)
    assert verdict_of(site, data).ok
    site.close()


runs = st.lists(
    st.tuples(
        st.integers(0, 400),
        st.integers(1, 200),
        st.integers(0, 30),
        st.sampled_from("pq"),
        st.sampled_from("lk"),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(runs, st.sampled_from(["good_count", "good_mass"]), st.integers(0, 10**9))
def test_every_settled_batch_of_any_site_verifies_to_the_last_digit(
    tmp_path_factory, batches, key, draw
):
    plant = copy.deepcopy(PLANT)
    plant["policy"] |= {"key": key, "pool_window_s": str(50 + draw % 100)}
    site = SmallSite(tmp_path_factory.mktemp("any"), plant)
    site.run("m", steady(0, 900, step=7), each=4)
    site.run("air", steady(0, 900, step=11, rate=3), each=3)
    for place, (start, length, good, product, line) in enumerate(batches):
        name = f"{(draw >> place) % 7}-{place}"
        site.batch(name, start, start + length, str(good), product, line)
    site.site.refresh()
    for name, result in site.site.engine.results.items():
        if result.state is BatchState.PROVISIONAL:
            continue
        for options in ({}, {"open_pool": True}):
            verdict = verdict_of(site, bundle_of(site, name, **options))
            assert verdict.ok, [c for c in verdict.checks if c.result == "fail"]
            assert verdict.result.digest() == result.digest()
    site.close()


def test_a_batch_that_made_nothing_does_not_hide_the_one_that_bounds_the_pool(tmp_path):
    plant = copy.deepcopy(PLANT)
    plant["policy"] |= {"pool_window_s": "83"}
    site = SmallSite(tmp_path, plant)
    site.run("m", steady(0, 900, step=7))
    site.run("air", steady(0, 900, step=11, rate=3))
    site.batch("made", 34, 192, "23")
    site.batch("nothing", 111, 193, "0")
    site.batch("mine", 317, 424, "27", line="k")
    data = bundle_of(site)
    assert verdict_of(site, data).ok
    site.close()


@pytest.mark.parametrize("start", [100, 210, 260])
def test_an_outbox_restored_from_a_backup_forks_the_chain_and_its_batches_verify(tmp_path, start):
    """Envelopes 6 to 10 were journalled, the outbox knows 5: the chain goes on from there."""
    site = SmallSite(tmp_path)
    site.run("air", steady(0, 900, rate=2))
    site.run("m", steady(0, 210), each=2)
    site.restart("m", 5)
    site.run("m", steady(220, 900), each=2)
    site.batch("b", start, start + 80)
    result = site.result("b")
    assert result.state is BatchState.FINAL
    assert "fork" in {f.rule for f in site.site.engine.findings()}
    verdict = verdict_of(site, bundle_of(site, "b"))
    assert verdict.ok, [c for c in verdict.checks if c.result == "fail"]
    assert verdict.result.digest() == result.digest()
    site.close()


def test_two_contents_of_one_number_keep_their_batch_open_and_no_other(tmp_path):
    site = SmallSite(tmp_path)
    site.run("air", steady(0, 900))
    site.run("m", steady(0, 900), each=5)
    site.batch("before", 20, 90)
    site.batch("during", 300, 380)
    chain = site._chains["agent-1", "m"]._chain
    seq, prev = chain._seq, chain._prev
    chain._seq, chain._prev = 6, site._made["m"][5].identity
    twin = site.drafts("m", [(t, v + 1) for t, v in steady(300, 340)])
    chain._seq, chain._prev = seq, prev
    assert site.result("during").state is BatchState.FINAL
    site.site.journal.append(twin)
    result = site.result("during")
    assert result.state is BatchState.PROVISIONAL
    assert "equivocation:m.e" in result.waits
    assert site.result("before").state is BatchState.FINAL
    assert "equivocation" in {f.rule for f in site.site.engine.findings()}
    assert verdict_of(site, bundle_of(site, "before")).ok
    site.site.facts.record(
        REGISTRY,
        "chain_closed",
        "agent-1/m",
        {"agent": "agent-1", "stream": "m", "reason": "cleared up with the supplier"},
        author="t",
        valid_from=0,
        valid_to=10**12,
    )
    assert site.result("during").state is BatchState.FINAL_ESTIMATED
    site.close()


def test_the_table_alone_tells_of_a_channel_that_delivered_nothing_near(tmp_path):
    """A weigher that weighed something only weeks later means the same in bundle and journal."""
    plant = copy.deepcopy(PLANT)
    register = {"id": "mass", "kind": "amount", "unit": "kg", "resolution": "1"}
    plant["instruments"].append({"id": "w", "registers": [register]})
    weigher = {"id": "w", "line": "l", "instrument": "w", "register": "mass"}
    plant["sources"].append(weigher)
    site = shared_site(tmp_path, plant)
    weighed = [(880, 12), (890, 13)]
    site.run("w", weighed, each=1, amount=True, register="mass", tag="secret-after")
    result = site.result("mine")
    assert result.state is BatchState.FINAL_ESTIMATED
    assert result.incomplete == ("no_factor:w",)
    verdict = verdict_of(site, bundle_of(site))
    assert verdict.ok
    assert verdict.result.digest() == result.digest()
    site.close()
