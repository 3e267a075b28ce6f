"""The pages in a real Chromium over a running demo plant, and the HTTP interface."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from dashboards.app import check_bind
from dashboards.format import measured, moment, per_unit, short
from dashboards.texts import TEXTS
from dashboards.words import WORDS
from footprint.batch import BatchState
from footprint.verify import verify
from ingest.broker import find_mosquitto
from mrv.errors import InputError
from mrv.verification.note import identity, split
from tests.conftest import missing

VENDOR = Path(__file__).resolve().parent.parent.parent / "dashboards" / "static" / "vendor"


def test_vendored_files_are_the_ones_locked():
    locked = json.loads((VENDOR / "vendor.lock").read_text())
    assert {row["file"] for row in locked} == {p.name for p in VENDOR.iterdir()} - {"vendor.lock"}
    for row in locked:
        digest = hashlib.sha256((VENDOR / row["file"]).read_bytes()).hexdigest()
        assert digest == row["sha256"], row["file"]
        assert row["licence"]


CLIPPED = """[...document.querySelectorAll('td, th[scope=row]')].filter(c => {
  const box = c.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 1 || c.scrollWidth > c.clientWidth + 1);
}).map(c => c.innerText.slice(0, 40))"""
"""Cells of which a part cannot be seen."""


def test_every_text_is_used_and_every_used_text_exists():
    folder = VENDOR.parent.parent
    source = "".join(
        path.read_text()
        for path in [*folder.glob("templates/*.html"), *folder.glob("*.py")]
        if path.name != "texts.py"
    )
    used = set(re.findall(r"""\bt\(f?["']([a-z_]*[a-z])["'],?\s*[^~{]""", source))
    prefixes = tuple(re.findall(r"""\bt(?:ext)?\(\s*f?["']([a-z_]+_)(?:["']\s*~|\{)""", source))
    prefixes += ("kind_",)
    assert used <= set(TEXTS), used - set(TEXTS)
    idle = {key for key in TEXTS if key not in used and not key.startswith(prefixes)}
    assert idle == set()


def test_every_letter_of_the_chinese_texts_is_in_the_vendored_font():
    font = TTFont(VENDOR / "noto-sans-sc-400.woff2")
    known = font.getBestCmap()
    texts = [zh for zh, _ in TEXTS.values()] + [w for row in WORDS for w in row[::2]]
    letters = {c for text in texts for c in text if "\u4e00" <= c <= "\u9fff"}
    assert {c for c in letters if ord(c) not in known} == set()


def test_every_text_stands_in_both_languages():
    for key, (zh, en) in TEXTS.items():
        assert zh, key
        assert en, key


def test_a_figure_is_written_as_the_glossary_says():
    zh = measured("3.4178", 0.055, "kgCO₂e/件", "zh")
    assert zh == "3.42 kgCO₂e/件，U = 0.11 kgCO₂e/件（k=2）"
    en = measured("3.4178", 0.055, "kgCO₂e/unit", "en")
    assert en == "3.42 kgCO₂e/unit, U = 0.11 kgCO₂e/unit (k = 2)"
    assert short("3.42", 0.0498) == ("3.42", "0.10")
    assert short("99.96", 0.4999) == ("100.0", "1.0")
    assert per_unit("kWh", "t", "zh") == "kWh/t"
    assert short("12345.6", 52.0) == ("12\u202f350", "100")
    assert moment(0, "Asia/Shanghai") == "1970-01-01T08:00:00+08:00"


def test_only_loopback_is_served_without_authentication():
    assert check_bind("127.0.0.1") == "127.0.0.1"
    with pytest.raises(InputError, match="authentication"):
        check_bind("0.0.0.0")


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A demo plant that runs until the tests are over; its address."""
    if find_mosquitto() is None:
        missing("mosquitto")
    from meterprint.demo.run import Demo
    from meterprint.pages import PageServer

    demo = Demo(tmp_path_factory.mktemp("demo"), 60, 1, time.monotonic())
    server = PageServer(demo.live, 0)
    thread = threading.Thread(target=lambda: asyncio.run(demo.run(None, lambda: None)))
    thread.start()
    version = 0
    while not any(r.state is BatchState.FINAL for r in demo.site.engine.results.values()):
        seen = demo.site.engine.wait_change(version, 120)
        assert seen > version, "the demo plant stands still"
        version = seen
    yield demo, server.url
    demo.stop()
    thread.join()
    server.stop()
    demo.close()
    assert {b.residual for b in demo.site.engine.books()} == {0}
    demo.site.close()


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def post(url, body, **headers):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.slow
@pytest.mark.broker
def test_the_interface_gives_the_engines_figures(plant):
    demo, url = plant
    rows = json.loads(get(f"{url}api/v1/batches"))
    assert {"batch", "product", "state", "footprint", "per_unit", "u_per_unit"} <= set(rows[0])
    settled = next(r for r in rows if r["state"] == "final")
    detail = json.loads(get(f"{url}api/v1/batches/{settled['batch']}"))
    assert detail["footprint"] == demo.site.engine.results[settled["batch"]].to_json()["footprint"]
    assert "press" in get(f"{url}api/v1/batches/{settled['batch']}.csv")
    assert get(f"{url}healthz") == "ok\n"
    assert get(f"{url}readyz") == "ok\n"
    metrics = get(f"{url}metrics")
    for name in (
        "journal_entries",
        "commit_seconds",
        'outbox_depth{agent="gateway"}',
        'view_lag{view="segments"}',
        'findings{rule="certificate_expired"}',
        'messages_quarantined{reason="bad_signature"}',
        "chains_with_holes",
    ):
        assert f"meterprint_{name}" in metrics, name
    helped = re.findall(r"^# HELP (\S+) \S", metrics, re.MULTILINE)
    assert set(helped) == set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE))
    assert "/api/v1/batch-events" in get(f"{url}openapi.json")


@pytest.mark.slow
@pytest.mark.broker
def test_a_figure_leads_to_its_factors_certificates_envelopes_and_bundle(plant):
    demo, url = plant
    rows = json.loads(get(f"{url}api/v1/batches"))
    name = next(r["batch"] for r in rows if r["state"] == "final")
    detail = json.loads(get(f"{url}api/v1/batches/{name}"))
    assert {s["factor"] for s in detail["sources"]} == {f["id"] for f in detail["factors"]}
    assert all(f["source"] and f["value"] for f in detail["factors"])
    papers = {s["certificate"] for s in detail["sources"]} - {""}
    assert papers == {c["id"] for c in detail["certificates"]}
    evidence = json.loads(get(f"{url}api/v1/batches/{name}/evidence"))
    assert evidence["checkpoint"]["size"] > max(e["index"] for e in evidence["envelopes"])
    for envelope in evidence["envelopes"][:3]:
        note = get(f"{url}api/v1/entries/{envelope['identity']}").encode()
        assert identity(split(note)[0]) == envelope["identity"]
    page = get(f"{url}batches/{name}/evidence?lang=en")
    assert evidence["envelopes"][0]["identity"] in page
    with urllib.request.urlopen(f"{url}api/v1/batches/{name}/bundle.zip") as answer:
        verdict = verify(answer.read(), demo.site.keyring.root.public)
    assert verdict.ok, [c for c in verdict.checks if c.result != "pass"]
    for missing_one in ("api/v1/batches/nobody/evidence", f"api/v1/entries/{'0' * 64}"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{url}{missing_one}")


@pytest.mark.slow
@pytest.mark.broker
def test_a_batch_event_is_taken_once_and_a_bad_one_says_its_field(plant):
    _, url = plant
    body = {
        "id": "e-1",
        "line": "line-1",
        "batch": "by-http",
        "product": "housing",
        "event": "start",
        "t": "2026-11-24T12:00:00+08:00",
    }
    target = f"{url}api/v1/batch-events"
    assert post(target, body)[0] == 201
    assert post(target, body)[0] == 200
    assert post(target, {**body, "product": "cover"})[0] == 409
    status, answer = post(target, {**body, "id": "e-2", "line": "line-9"})
    assert (status, answer["field"]) == (422, "line")
    status, answer = post(target, {**body, "id": "e-6", "event": "stop"})
    assert (status, answer["field"], answer["seen"]) == (422, "event", "stop")
    status, answer = post(target, {**body, "id": "e-3", "t": "2026-11-24T12:00:00"})
    assert (status, answer["field"]) == (422, "t")
    assert post(target, {**body, "id": "e-4"}, Origin="http://elsewhere.example")[0] == 403
    end = {**body, "id": "e-5", "event": "end", "good": "-1", "t": "2026-11-24T12:01:00+08:00"}
    status, answer = post(target, end)
    assert (status, answer["field"]) == (422, "good")
    assert post(target, {**end, "good": "5"})[0] == 201


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.broker
def test_pages_are_whole_in_both_languages_schemes_and_sizes(plant, chromium):
    from playwright.sync_api import sync_playwright

    _, url = plant
    rows = json.loads(get(f"{url}api/v1/batches"))
    name = next(r["batch"] for r in rows if r["state"] == "final")
    faults = []
    with sync_playwright() as browser_kit:
        browser = browser_kit.chromium.launch(
            executable_path=chromium,
            args=["--disable-background-networking", "--disable-component-update"],
        )
        for language in ("zh", "en"):
            for scheme in ("light", "dark"):
                for width in (1280, 375):
                    context = browser.new_context(
                        viewport={"width": width, "height": 800}, color_scheme=scheme
                    )
                    page = context.new_page()
                    page.on(
                        "console",
                        lambda m: faults.append(m.text) if m.type == "error" else None,
                    )
                    page.on("pageerror", lambda e: faults.append(str(e)))
                    page.on(
                        "request",
                        lambda r: (
                            faults.append(r.url) if not r.url.startswith((url, "data:")) else None
                        ),
                    )
                    for path in (
                        "",
                        "batches",
                        f"batches/{name}",
                        f"batches/{name}/evidence",
                        "meters",
                        "help",
                    ):
                        page.goto(f"{url}{path}?lang={language}")
                        text = page.inner_text("body")
                        wide = page.evaluate(
                            "document.documentElement.scrollWidth - window.innerWidth"
                        )
                        assert wide <= 0, (path, language, scheme, width, wide)
                        assert ("批次" in text) == (language == "zh")
                        hidden = page.evaluate(CLIPPED)
                        assert hidden == [], (path, language, width, hidden)
                        assert "{{" not in text
                    context.close()
        browser.close()
    assert faults == []


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.broker
def test_the_figure_follows_the_plant_without_reload(plant, chromium):
    from playwright.sync_api import sync_playwright

    _, url = plant
    with sync_playwright() as browser_kit:
        browser = browser_kit.chromium.launch(executable_path=chromium)
        page = browser.new_page()
        page.goto(url)
        before = page.inner_text("#line-line-1 .age time")
        page.wait_for_function(
            "before => document.querySelector('#line-line-1 .age time').innerText !== before",
            arg=before,
            timeout=60_000,
        )
        browser.close()
