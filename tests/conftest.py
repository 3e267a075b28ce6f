"""Fixtures: shared data, real servers. In CI a missing server is a failure, not a skip."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from ingest.broker import Mosquitto, find_mosquitto
from scripts.influxd_builds import INFLUX2_VERSION, INFLUX_VERSION, influxd_path

INFLUXDS = (INFLUX_VERSION, INFLUX2_VERSION)

settings.register_profile("meterprint", deadline=None)
settings.load_profile("meterprint")  # no test depends on how fast the machine is
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
def influxd_of(tmp_path_factory: pytest.TempPathFactory):
    """Gives a real influxd of a version, started once, with a user and nothing else."""
    from scripts.influx_servers import Influxd, influx_server

    with contextlib.ExitStack() as stack:
        running: dict[str, Influxd] = {}

        def of(version: str) -> Influxd:
            if version not in running:
                if not influxd_path(version).exists():
                    missing(f"influxd {version}")
                folder = tmp_path_factory.mktemp("influxd")
                running[version] = stack.enter_context(influx_server(version, folder))
            return running[version]

        yield of


@pytest.fixture(params=INFLUXDS)
def influxd(request: pytest.FixtureRequest, influxd_of):
    """A real influxd, each version in turn; others have their databases in it too."""
    return influxd_of(request.param)


@pytest.fixture(scope="session")
def chromium() -> str:
    import shutil

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    return path
