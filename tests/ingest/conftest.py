"""Fixtures of the ingest tests: a journal with an agent, a database of its own."""

from __future__ import annotations

import pytest

from ingest.influx_connection import InfluxConnection
from ingest.influx_setup import prepare
from tests.ingest.influx_work import NAMES
from tests.ingest.test_receiver import Bench


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "site")
    yield bench
    bench.close()


@pytest.fixture
def address(influxd):
    """Address of a database of its own in a real InfluxDB."""
    address = influxd.address(next(NAMES))
    server = InfluxConnection(address)
    prepare(server)
    server.close()
    return address
