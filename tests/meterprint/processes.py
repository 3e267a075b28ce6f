"""Real processes of the command line, and asking them over HTTP."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import SimpleNamespace

import structlog

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


def run(*words, typed=""):
    """A command that ends by itself, in this process: its status and what it says."""
    out, err = io.StringIO(), io.StringIO()
    before, handlers = (sys.argv, sys.stdin), logging.getLogger().handlers[:]
    sys.argv, sys.stdin = ["meterprint", *map(str, words)], io.StringIO(typed)
    status = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.argv, sys.stdin = before
        logging.getLogger().handlers[:] = handlers
        structlog.reset_defaults()
    return SimpleNamespace(returncode=status or 0, stdout=out.getvalue(), stderr=err.getvalue())


def refused(*words):
    """What a command says on standard error that is refused, and says nothing else."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, ""), done
    return done.stderr


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
