"""The script that brings servers says what is missing and what to do."""

from __future__ import annotations

import pytest

from scripts import influxd_builds
from scripts.influxd_builds import influxd2, influxd_path
from scripts.machine import Answer
from scripts.servers import exit_status


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with an empty cache, where only these programs are found."""
    monkeypatch.setenv("METERPRINT_CACHE", str(tmp_path))
    found = {}
    monkeypatch.setattr(influxd_builds, "find", found.get)
    return found


def test_each_version_of_influxd_has_its_own_place(bare, tmp_path):
    assert influxd_path().parent == tmp_path / "influxd-1.8.10"
    assert influxd_path("2.9.1").parent == tmp_path / "influxd-2.9.1"


def test_without_its_tools_influxd_2_is_missing_and_each_tool_is_named(bare):
    answer = influxd2(look=False)
    assert answer.state == "missing"
    assert "sudo apt-get install gcc pkg-config" in answer.detail
    assert "Rust 1.83 or newer (https://rustup.rs)" in answer.detail


def test_an_old_rust_is_named(bare, tmp_path):
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho cargo 1.63.0 '(fd9c4297c 2022-07-01)'\n")
    cargo.chmod(0o755)
    bare |= {"cargo": str(cargo), "rustc": "x", "cc": "x", "pkg-config": "x"}
    assert "Rust 1.83" in influxd2(look=False).detail
    cargo.write_text("#!/bin/sh\necho cargo 1.83.0\n")
    assert influxd_builds.rust_fault() == ""


def test_a_built_influxd_2_is_not_built_again(bare):
    target = influxd_path("2.9.1")
    target.parent.mkdir()
    target.write_text("")
    assert influxd2(look=False) == Answer("ok", str(target))


def test_in_ci_a_missing_server_is_a_failure():
    report = {"influxd2": Answer("missing", "…"), "mosquitto": Answer("ok", "…")}
    assert exit_status(report, ci=True) == 1
    assert exit_status(report, ci=False) == 0
