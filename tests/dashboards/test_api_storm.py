"""The HTTP interface against its own description: no 5xx, no answer its schema does not allow.

Once as it is without accounts, once as somebody who has logged in, once as a stranger.
"""

from __future__ import annotations

import os
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from dashboards.access import Role
from dashboards.accounts import Accounts, with_token, write_accounts
from dashboards.app import create_app
from dashboards.guard import Door
from dashboards.read_model import ReadModel
from ingest.broker import find_mosquitto
from meterprint.live import LiveSite
from meterprint.metrics import metrics_text
from meterprint.pages import RunningSite
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from tests.conftest import REPO, missing

EXAMPLES = int(os.environ.get("METERPRINT_API_EXAMPLES", "25"))
MEANING = [positive_data_acceptance]
"""Which lines there are, and that only a start names a product, no schema can say."""
pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    if find_mosquitto() is None:
        missing("mosquitto")
    site = open_site(tmp_path_factory.mktemp("site") / "state", "steel-plant.example")
    site.state_plant(load_plant(REPO / "examples" / "steel_plant" / "plant.yaml"), 0)
    running = LiveSite(site)
    body = {"id": "1", "line": "plant", "batch": "b", "product": "day", "event": "start"}
    running.batch_event({**body, "t": "2026-11-24T00:00:00Z"}, "t")
    yield running
    running.close()
    site.close()


@pytest.fixture(scope="module")
def accounts(tmp_path_factory):
    """(accounts, token of an operator)."""
    file = tmp_path_factory.mktemp("accounts") / "users"
    account, token = with_token("storm", Role.OPERATOR)
    write_accounts(file, {"storm": account})
    return Accounts(file), token


def application(live, door):
    read = ReadModel(RunningSite(live), live.site.engine.changes.wait)
    return create_app(read, lambda: metrics_text(live), door)


def operations(app):
    """Every operation of the description, and that the code has no other."""
    described = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    written = sum(
        len(re.findall(r"@api\.(?:get|post|put|patch|delete)\(", file.read_text()))
        for file in (REPO / "dashboards").glob("api*.py")
    )
    assert len(described) == written
    return described


def storm(app, headers, excluded):
    """Throw what the description allows, and what it does not, at every operation."""
    interface = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
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
            case.call_and_validate(headers=headers, excluded_checks=excluded)

        keeps()
    assert seen == operations(app)
    assert len(seen) > 10


def test_the_interface_keeps_its_own_description(live):
    storm(application(live, Door(names=("testserver",))), {}, MEANING)


def test_it_keeps_it_for_somebody_who_has_logged_in_and_asks_everybody_else_to(live, accounts):
    known, token = accounts
    app = application(live, Door(known))
    assert app.openapi()["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    storm(app, {"Authorization": f"Bearer {token}"}, MEANING)


def test_a_stranger_hears_nothing_but_to_log_in(live, accounts):
    known, token = accounts
    app = application(live, Door(known))
    described = schemathesis.openapi.from_asgi(
        "/openapi.json", app, headers={"Authorization": f"Bearer {token}"}
    )
    for found in described.get_all_operations():

        @settings(max_examples=5, deadline=None, derandomize=True, database=None)
        @given(case=found.ok().as_strategy())
        def refused(case):
            answer = case.call(headers={"Authorization": "Bearer mp_nobody"})
            assert answer.status_code == 401
            case.validate_response(answer, excluded_checks=[*MEANING, ignored_auth])

        refused()
