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
            assert (REPO / path).exists(), path


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
