"""Docs can fail the build."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from mrv.measurement.activity import STATE_RULES
from mrv.measurement.calibration import CertificateState

REPO = Path(__file__).resolve().parent.parent


def test_architecture_and_contributing_stay_short():
    assert len((REPO / "ARCHITECTURE.md").read_text().splitlines()) <= 120
    assert len((REPO / "CONTRIBUTING.md").read_text().splitlines()) < 40


def test_the_makefile_has_every_target_the_readme_names():
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)", (REPO / "README.md").read_text()))
    assert named <= targets
    assert "test" in named


def test_the_readmes_commands_are_commands():
    from typer.main import get_command

    from meterprint.cli import app

    group = get_command(app)
    named = set(re.findall(r"\.venv/bin/meterprint ([a-z-]+)", (REPO / "README.md").read_text()))
    assert named
    assert named <= set(group.commands)


def test_every_place_of_the_code_map_exists():
    text = (REPO / "ARCHITECTURE.md").read_text()
    for cell in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`([^`]+)`", cell):
            folder = name.rpartition("/")[0] if "/" in name else folder
            path = name if "/" in name else f"{folder}/{name}"
            assert any(REPO.glob(path)), path


def test_no_tracked_file_names_this_machine_or_a_package_host():
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False
    )
    hosts = ("py" + "pi.org", "registry.npm" + "js", "proxy.go" + "lang", "deb.deb" + "ian")
    places = ("/work" + "/", "/root" + "/", "/fa" + "rm/")
    for name in filter(None, done.stdout.split("\0")):
        path = REPO / name
        if path.suffix in (".gz", ".woff2", ".png") or "vendor" in name or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for word in (*hosts, *places):
            assert word not in text, (name, word)


def test_every_rule_of_a_finding_is_explained():
    text = (REPO / "docs" / "reference" / "findings.md").read_text()
    explained = set(re.findall(r"`([a-z_]+)`", text))
    named = re.compile(r"(?:Finding|_find|_finding)\(\s*\"([a-z_]+)\"")
    rules = {rule for rule, _ in STATE_RULES if rule}
    rules |= {f"certificate_{state.value}" for state in CertificateState} - {"certificate_valid"}
    for folder in ("mrv", "footprint", "edge_agent", "ingest", "meterprint"):
        for path in (REPO / folder).rglob("*.py"):
            rules |= set(named.findall(path.read_text()))
    assert rules - explained == set()


def test_the_how_to_guides_name_commands_that_exist():
    from typer.main import get_command

    from meterprint.cli import app

    group = get_command(app)
    for path in (REPO / "docs").rglob("*.md"):
        for line in re.findall(r"meterprint ([a-z-]+(?: [a-z-]+)?)", path.read_text()):
            first, _, second = line.partition(" ")
            assert first in group.commands, (path.name, line)
            inner = getattr(group.commands[first], "commands", None)
            assert inner is None or second in inner, (path.name, line)


def test_the_page_of_the_commands_is_what_the_help_texts_say():
    from scripts.commands_page import PAGE, render

    page = render()
    assert PAGE.read_text() == page, "run python scripts/commands_page.py"
    assert "|  |" not in page, "an option without help"


def test_every_command_takes_a_state_directory_and_every_list_gives_json():
    from typer.main import get_command

    from meterprint.cli import app
    from scripts.commands_page import commands

    for words, one in commands(get_command(app)):
        options = {name for param in one.params for name in param.opts}
        assert "--state" in options, words
        if words[-1] in ("list", "show") or words in (("doctor",), ("reconcile",), ("check",)):
            assert "--json" in options, words


def test_every_setting_is_in_the_reference_with_its_default():
    from meterprint.settings import key_table

    text = (REPO / "docs" / "reference" / "configuration.md").read_text()
    for key, default, meaning in key_table():
        shown = f"`{default}`" if default else "–"
        assert f"| `{key}` | {shown} | {meaning} |" in text, key
    named = set(re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE))
    assert named == {key for key, _, _ in key_table()}


def test_every_metric_trouble_and_state_of_an_agent_is_in_the_reference():
    from dashboards.agent_health import Health

    text = (REPO / "docs" / "reference" / "metrics.md").read_text()
    source = (REPO / "meterprint" / "metrics.py").read_text()
    plain = set(re.findall(r"_(?:gauge|gauges)\(\s*\"([a-z_]+)\"", source))
    counted = set(re.findall(r"_counter\(\s*\"([a-z_]+)\"", source))
    named = {f"meterprint_{name}" for name in plain} | {f"meterprint_{n}_total" for n in counted}
    assert len(named) > 15
    for name in named | {"meterprint_messages_quarantined_total", "meterprint_commit_seconds"}:
        assert f"`{name}" in text, name
    live = (REPO / "meterprint" / "live.py").read_text()
    for code in re.findall(r'Trouble\("([a-z_]+)"', live):
        assert f"| `{code}` |" in text, code
    for state in Health:
        assert f"| `{state}` |" in text, state


def test_every_term_of_the_glossary_has_both_languages_and_pages_use_them():
    from dashboards.texts import PAGES

    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \|", (REPO / "GLOSSARY.md").read_text(), re.MULTILINE
    )
    terms = [(a.strip(), b.strip()) for a, b in rows if "---" not in a][1:]
    assert len(terms) > 20
    for first, second in terms:
        assert first, second
        assert second, first
        assert any("\u4e00" <= c <= "\u9fff" for c in first + second), (first, second)
    zh = {word.strip() for pair in terms for cell in pair for word in re.split("[/,，、]", cell)}
    for key in ("batch", "instrument", "factor", "certificate", "agent", "stream", "tier"):
        assert PAGES[key][0] in zh, (key, PAGES[key][0])
