"""Fixtures: shared data, real servers. In CI a missing server is a failure, not a skip."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NoReturn

import pytest

from ingest.broker import Mosquitto, find_mosquitto
from ingest.broker_port import free_port

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))


def missing(what: str) -> NoReturn:
    text = f"{what} is missing: run `make servers`"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def shared() -> Path:
    path = REPO.parent / "shared"
    if not path.is_dir():
        pytest.skip("the shared reference data is not beside the repository (../shared)")
    return path


@pytest.fixture
def mosquitto(tmp_path: Path):
    if find_mosquitto() is None:
        missing("mosquitto")
    broker = Mosquitto(tmp_path / "broker")
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory):
    """URL of a real influxd 1.8.10 with a database `meterprint`, policy `rp`."""
    from scripts.servers import influxd_path

    program = influxd_path()
    if not program.exists():
        missing("influxd")
    folder = tmp_path_factory.mktemp("influxd")
    port, rpc = free_port(), free_port()
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n'
        f'[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nquery-log-enabled = false\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nflux-enabled = true\nlog-enabled = false\n'
        '[logging]\nlevel = "error"\n'
    )
    process = subprocess.Popen(
        [str(program), "-config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=1).read()
                break
            except OSError:
                try:
                    code = process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
                pytest.fail(f"influxd ended with {code}")
        else:
            pytest.fail("influxd does not answer")
        query = urllib.parse.urlencode(
            {"q": "CREATE DATABASE meterprint WITH DURATION INF NAME rp"}
        )
        urllib.request.urlopen(f"{url}/query", data=query.encode(), timeout=10).read()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def chromium() -> str:
    import shutil

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    return path
