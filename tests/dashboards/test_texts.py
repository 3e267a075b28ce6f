"""The texts of the pages: whole, used, and with a glyph for each sign."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from dashboards.access import Role
from dashboards.agent_health import Health
from dashboards.format import age
from dashboards.pages import ILL
from dashboards.running import ENDED
from dashboards.texts import CODES, HELP, PAGES, TEXTS, code, explanations
from dashboards.texts_codes import FAMILIES
from footprint.batch import BatchState, Part
from mrv.measurement.activity import STATE_RULES
from mrv.measurement.calibration import CertificateKind, CertificateState
from mrv.reporting.completeness import Closure
from tests.conftest import REPO

DASHBOARDS = REPO / "dashboards"
FONT = DASHBOARDS / "static" / "vendor" / "noto-sans-sc-400.woff2"
SIGNS = set(string.printable) | set("±·–₂³×")
"""Signs every system font has."""


def sources():
    """Templates and code that may use a text."""
    files = [*DASHBOARDS.glob("templates/*.html"), *DASHBOARDS.glob("*.py")]
    return {f.name: f.read_text() for f in files if not f.name.startswith("texts_")}


def rules_of_the_engine():
    """Rules of findings that footprint and mrv can make, read from their source."""
    rules = {rule for rule, _ in STATE_RULES if rule}
    rules |= {f"certificate_{s}" for s in CertificateState if s not in ("valid", "missing")}
    rules |= {"unreadable_entry", "clock_step", "equivocation", "fork", "unknown_instrument"}
    rules |= {"late", "new_chain"}
    for folder in ("footprint", "mrv"):
        for file in (REPO / folder).rglob("*.py"):
            text = file.read_text()
            rules |= set(re.findall(r'(?:Finding\(|_find\((?:fact, )?)\s*"([a-z_]+)"', text))
    return rules - {"unknown_batch_tag"}  # of the books, which no page shows


def numbers_of_findings():
    """Names of the numbers of findings, read from the source that makes them."""
    names = {"tier", "closing", "opening", "first", "second", "epoch", "after"}
    names |= {"known_by", "u", "unit"}
    for folder in ("footprint", "mrv", "ingest"):
        for file in (REPO / folder).rglob("*.py"):
            text = file.read_text()
            for call in re.findall(r"_find\((.*)", text):
                names |= set(re.findall(r"[ (]([a-z_]+)=(?!=)", call))
            if "Finding(" in text or "Finding]" in text:
                found = re.findall(r"""\("([a-z_]+)", (?:str|decimal_text|float_text)\(""", text)
                names |= {name.removesuffix("_ns") for name in found}
    return names


def test_every_text_stands_in_both_languages():
    for key, (zh, en) in TEXTS.items():
        assert zh.strip(), key
        assert en.strip(), key
        assert set(re.findall(r"{\w+}", zh)) == set(re.findall(r"{\w+}", en)), key
        assert not re.search("[\u4e00-\u9fff]", en) or key == "lang_other", key
    for anchor, term, meaning in HELP:
        assert all((*term, *meaning)), anchor
    assert len(PAGES) + len(CODES) == len(TEXTS)


def test_every_key_is_used_and_every_used_key_is_there():
    used = set()
    for text in sources().values():
        used |= set(re.findall(r"""\bt\(\s*['"]([a-z_]+)['"]""", text))
    assert used - set(TEXTS) == set()
    assert set(PAGES) - used == set()


def test_every_part_of_an_amount_has_a_colour_of_its_kind():
    from dashboards.charts import PART_CLASSES

    assert set(PART_CLASSES) == set(Part)
    css = (DASHBOARDS / "static" / "meterprint.css").read_text()
    assert [name for name in PART_CLASSES.values() if f".{name} " not in css] == []


def test_every_code_the_engine_writes_has_its_words():
    needed = {f"state_{state}" for state in BatchState}
    needed |= {f"part_{part}" for part in Part}
    needed |= {f"cert_{state}" for state in CertificateState}
    needed |= {f"paper_{kind}" for kind in CertificateKind}
    needed |= {f"wait_{reason}" for reason in Closure if reason is not Closure.CLOSED}
    needed |= {f"rule_{rule}" for rule in rules_of_the_engine()}
    places = ("batch_run.py", "pricing.py", "closure.py")
    engine = "".join((REPO / "footprint" / name).read_text() for name in places)
    needed |= {f"lack_{name}" for name in re.findall(r'incomplete\.add\(f?"([a-z_]+)[:"]', engine)}
    needed |= {f"wait_{name}" for name in re.findall(r'waits\.add\(f?"([a-z_]+)[:"]', engine)}
    needed |= {f"reason_{name}" for name in ("by_id", "valid", "carried_forward")}
    needed |= {f"health_{state}" for state in Health}
    needed |= {f"health_do_{state}" for state in ILL}
    needed |= {f"role_{role}" for role in Role}
    needed |= {f"num_{name}" for name in numbers_of_findings()}
    live = (REPO / "meterprint" / "live.py").read_text()
    needed |= {f"trouble_{code}" for code in re.findall(r'Trouble\("([a-z_]+)"', live)}
    needed.add(f"trouble_{ENDED}")
    needed |= {f"span_{unit}" for _, unit in (age(s) for s in (1, 200, 9000, 10**6))}
    needed |= {
        f"comp_{name}" for name in ("factor", "mpe", "cal", "res", "gap", "fill", "declared")
    }
    needed |= {"lack_not_metered", "lack_no_channel", "lack_not_passed", "lack_late_start"}
    assert needed - set(CODES) == set()
    kinds = {key for key in CODES if key.startswith("kind_")}
    assert set(CODES) - needed - kinds == set()
    assert {key.partition("_")[0] for key in CODES} == set(FAMILIES)


def test_a_code_nobody_translated_is_still_readable():
    assert code("kind", "flow_computer", "en") == "flow computer"
    assert code("state", "final", "zh") == "终定"


def test_the_help_page_explains_every_state_and_every_share():
    explained = {anchor for anchor, *_ in explanations("en")}
    assert set(BatchState) <= explained
    assert {"idle", "changeover", "unattributed", "shared", "direct"} <= explained
    assert {"uncertainty", "partial", "stale", "tier", "evidence", "incomplete"} <= explained
    linked = set()
    for text in sources().values():
        linked |= set(re.findall(r'/help#([a-z_]+)"', text))
    assert linked <= explained


def in_font(ranges, sign):
    return any(low <= ord(sign) <= high for low, high in ranges)


def test_every_sign_of_the_chinese_texts_has_a_glyph():
    pytest.importorskip("brotli", reason="brotli is not installed")
    tools = pytest.importorskip("fontTools.ttLib", reason="fonttools is not installed")
    glyphs = set(tools.TTFont(FONT).getBestCmap())
    css = (DASHBOARDS / "static" / "meterprint.css").read_text()
    stated = re.search(r"unicode-range: ([^;]+);", css).group(1)
    ranges = [
        tuple(int(end, 16) for end in part.strip().removeprefix("U+").split("-"))
        for part in stated.split(",")
    ]
    texts = [zh for zh, _ in TEXTS.values()]
    texts += [zh for _, term, meaning in HELP for zh in (term[0], meaning[0])]
    texts += [text for name, text in sources().items() if name.endswith(".html")]
    for file in (
        "meterprint/demo/plant.yaml",
        *(str(p) for p in REPO.glob("examples/*/plant.yaml")),
    ):
        texts.append(re.sub(r"#.*", "", Path(REPO / file).read_text()))
    signs = {sign for text in texts for sign in text} - SIGNS - set("◷◆▲●←→")
    outside = {sign for sign in signs if not in_font(ranges, sign)}
    assert outside == set(), "a sign the page's own font is not asked for"
    assert {sign for sign in signs if ord(sign) not in glyphs} == set()
