"""The pages and the HTTP interface over a running demo plant."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from dashboards.format import age, measured, moment, per_unit, share, short, symbol
from dashboards.guard import check_bind
from dashboards.texts import LANGUAGES, TEXTS
from mrv.errors import InputError
from tests.dashboards.asking import get, post, settled, submit

VENDOR = Path(__file__).resolve().parent.parent.parent / "dashboards" / "static" / "vendor"


def test_vendored_files_are_the_ones_locked():
    locked = json.loads((VENDOR / "vendor.lock").read_text())
    assert {row["file"] for row in locked} == {p.name for p in VENDOR.iterdir()} - {"vendor.lock"}
    for row in locked:
        digest = hashlib.sha256((VENDOR / row["file"]).read_bytes()).hexdigest()
        assert digest == row["sha256"], row["file"]
        assert row["licence"]


def test_a_figure_is_written_as_the_glossary_says():
    zh = measured("3.4178", 0.055, "kgCO₂e/件", "zh")
    assert zh == "3.42 kgCO₂e/件，U = 0.11 kgCO₂e/件（k=2）"
    en = measured("3.4178", 0.055, "kgCO₂e/unit", "en")
    assert en == "3.42 kgCO₂e/unit, U = 0.11 kgCO₂e/unit (k = 2)"
    assert short("3.42", 0.0498) == ("3.42", "0.10")
    assert short("99.96", 0.4999) == ("100.0", "1.0")
    assert per_unit("kWh", "t", "zh") == "kWh/t"
    assert short("12345.6", 52.0) == ("12\u202f350", "100")
    assert symbol("kgCO2e/m3") == "kgCO₂e/m³"
    assert (age(3), age(119), age(120), age(7200)) == ((3, "s"), (119, "s"), (2, "min"), (2, "h"))
    assert (share(0.5), share(0), share(1e-6)) == ("50.0 %", "0.0 %", "< 0.1 %")
    assert moment(0, "Asia/Shanghai") == "1970-01-01T08:00:00+08:00"


def test_off_loopback_pages_need_accounts_and_encryption_and_say_which_is_missing():
    assert check_bind("127.0.0.1", accounts=False, encrypted=False) == "127.0.0.1"
    with pytest.raises(InputError, match="no account") as refused:
        check_bind("0.0.0.0", accounts=False, encrypted=True)
    assert "user set" in refused.value.hint
    with pytest.raises(InputError, match="in the clear"):
        check_bind("0.0.0.0", accounts=True, encrypted=False)
    assert check_bind("0.0.0.0", accounts=True, encrypted=True) == "0.0.0.0"


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
        'outbox_depth_envelopes{agent="gateway"}',
        'findings{rule="certificate_expired"}',
        'messages_quarantined_total{reason="bad_signature"}',
        "chains_with_holes",
    ):
        assert f"meterprint_{name}" in metrics, name
    helped = re.findall(r"^# HELP (\S+) \S", metrics, re.MULTILINE)
    assert set(helped) == set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE))
    assert "/api/v1/batch-events" in get(f"{url}openapi.json")


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
@pytest.mark.broker
def test_no_key_and_no_code_reaches_a_page(plant):
    _, url = plant
    name = settled(plant)
    rows = json.loads(get(f"{url}api/v1/batches"))
    paths = ["", "batches", "meters", "help", f"batches/{name}", "batches/none"]
    paths += [f"batches/{row['batch']}" for row in rows[:2]]
    for language in LANGUAGES:
        for path in paths:
            if path == "batches/none":
                _, page = submit(f"{url}batches", {"line": "line-9", "event": "end", "batch": "b"})
            else:
                page = get(f"{url}{path}?lang={language}")
            assert "{{" not in page
            assert "{%" not in page
            found = words_of(page)
            keys = set(re.findall(r"[a-z]+(?:_[a-z]+)+", found))
            assert keys & set(TEXTS) == set(), (path, language)
            assert keys - PUBLISHED == set(), (path, language)


PUBLISHED = {"electricity_co"}
"""What stands so in the source of a factor: `electricity_co2`."""


def words_of(page):
    """Words of a page that are neither markup nor shown as code."""
    body = page[page.index("<body") :]
    body = re.sub(r"<pre.*?</pre>", " ", body, flags=re.DOTALL)
    body = re.sub(r'<(\w+) class="code[^"]*"[^>]*>.*?</\1>', " ", body, flags=re.DOTALL)
    body = re.sub(r'<a class="code"[^>]*>.*?</a>', " ", body, flags=re.DOTALL)
    body = re.sub(r'<(small|td) class="code[^"]*".*?</\1>', " ", body, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", body)


@pytest.mark.slow
@pytest.mark.broker
def test_a_form_is_answered_by_a_card_where_only_that_is_asked_for(plant):
    _, url = plant
    refused = {"line": "line-1", "event": "end", "batch": "nobody", "good": "-7", "scrap": "1"}
    status, page = submit(f"{url}batches", refused)
    assert status == 422
    assert "<html" in page
    status, page = submit(f"{url}batches", refused, **{"HX-Request": "true"})
    assert status == 422
    assert 'role="alert"' in page
    assert "<html" not in page


@pytest.mark.slow
@pytest.mark.broker
def test_after_the_last_page_of_batches_comes_the_last_one(plant):
    _, url = plant
    page = get(f"{url}batches?page=999&lang=zh")
    assert "还没有批次" not in page
    assert 'rel="next"' not in page
