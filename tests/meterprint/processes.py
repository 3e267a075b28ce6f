"""Real processes of the command line, and asking them over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from meterprint.cli import main
from tests.conftest import REPO

MINIMAL = """\
site: s
lines: [{id: l}]
products: [{id: p, unit: piece}]
instruments:
  - id: m
    agent: gw
    profile: eastron/sdm630
    source: {url: "tcp://127.0.0.1:%s", unit: "1"}
    registers: [{id: energy_import, kind: counter, unit: kWh, resolution: 0.01}]
sources: [{id: e, line: l, instrument: m, register: energy_import}]
"""
"""A plant of one meter on a bus whose port is filled in."""


def command(*words):
    return [sys.executable, "-m", "meterprint.cli", *map(str, words)]


def run(*words, **options):
    """A command that ends by itself."""
    return subprocess.run(
        command(*words),
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def refused(capsys, monkeypatch, *words):
    """What a command says on standard error that this process runs and that is refused."""
    monkeypatch.setattr(sys, "argv", ["meterprint", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, ""), said
    return said.err


@contextmanager
def running(tmp_path, *words, log="log"):
    """(process, first line it says, file of what it logs) of a command that runs until stopped."""
    path = tmp_path / log
    with path.open("w") as errors:
        process = subprocess.Popen(
            command(*words), cwd=REPO, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield process, process.stdout.readline(), path
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=60)
            process.stdout.close()


@contextmanager
def serving(tmp_path, *words, log="log"):
    """(process, URL, port of the broker, log) of `serve` on free ports."""
    options = ("serve", "--port", 0, *(() if "--broker" in words else ("--broker-port", 0)), *words)
    with running(tmp_path, *options, log=log) as (process, said, path):
        url = said.split()[0] if said else ""
        assert url, path.read_text()
        yield process, url, int(said.rsplit(":", 1)[1]), path


def ask(url, body=None, token="", context=None):
    """(status, text) of a request."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if data else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(process, ask_again, wanted, tries=400):
    """Ask until the answer is wanted, while the process lives; the answer."""
    for _ in range(tries):
        answer = ask_again()
        if wanted(answer):
            return answer
        try:
            code = process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the process ended with {code}")
    raise AssertionError(f"it stays at {answer}")
