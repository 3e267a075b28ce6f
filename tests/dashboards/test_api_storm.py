"""The HTTP interface against its own description: no 5xx, no answer its schema does not allow."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from dashboards.app import create_app
from dashboards.read_model import ReadModel
from ingest.broker import find_mosquitto
from meterprint.live import LiveSite
from meterprint.metrics import metrics_text
from meterprint.pages import RunningSite
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from tests.conftest import REPO, missing

EXAMPLES = int(os.environ.get("METERPRINT_API_EXAMPLES", "40"))
MEANING = [positive_data_acceptance]
"""Which lines there are, and that only a start names a product, no schema can say."""


@pytest.fixture(scope="module")
def interface(tmp_path_factory):
    if find_mosquitto() is None:
        missing("mosquitto")
    site = open_site(tmp_path_factory.mktemp("site") / "state", "steel-plant.example")
    site.state_plant(load_plant(REPO / "examples" / "steel_plant" / "plant.yaml"), 0)
    live = LiveSite(site)
    body = {"id": "1", "line": "plant", "batch": "b", "product": "day", "event": "start"}
    live.batch_event({**body, "t": "2026-11-24T00:00:00Z"}, "t")
    read = ReadModel(RunningSite(live), site.engine.wait_change)
    yield schemathesis.openapi.from_asgi(
        "/openapi.json", create_app(read, lambda: metrics_text(live))
    )
    live.close()
    site.close()


@pytest.mark.slow
@pytest.mark.broker
def test_the_interface_keeps_its_own_description(interface):
    seen = set()
    for found in interface.get_all_operations():
        operation = found.ok()
        seen.add(operation.label)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=operation.as_strategy())
        def keeps(case):
            case.call_and_validate(excluded_checks=MEANING)

        keeps()
    assert {"GET /api/v1/batches", "POST /api/v1/batch-events"} <= seen
