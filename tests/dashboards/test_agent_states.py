"""The page of the meters while a real agent is killed, stays away, comes back and catches up."""

from __future__ import annotations

import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.agent_health import (
    BEHIND_NS,
    NS,
    SILENT_NS,
    AgentState,
    Health,
    health,
    read_state,
)
from ingest.broker import find_mosquitto
from ingest.broker_port import free_port
from meterprint.site import open_site
from mrv.errors import InputError
from tests.conftest import missing
from tests.meterprint.processes import MINIMAL, ask, run, running, serving, until

NOW = 10**18


def state(**more):
    return read_state(json.dumps({"online": True, "depth": 0, **more}).encode(), NOW)


def test_each_state_of_an_agent_has_its_name():
    waited = {"depth": 9, "t": str(NOW), "oldest": str(NOW - BEHIND_NS - 1)}
    assert health(None, NOW, NOW) is Health.UNKNOWN
    assert health(state(online=False), NOW, NOW) is Health.OFFLINE
    assert health(state(), NOW, NOW) is Health.ONLINE
    assert health(state(), NOW - SILENT_NS - 1, NOW) is Health.SILENT
    assert health(state(), None, NOW) is Health.SILENT
    assert health(state(**waited), NOW, NOW) is Health.CATCHING_UP
    assert health(state(**{**waited, "oldest": str(NOW - NS)}), NOW, NOW) is Health.ONLINE
    assert health(state(**waited, storage="full"), NOW, NOW) is Health.FAULT
    assert health(state(**waited, fault="disk"), NOW, NOW) is Health.FAULT


def test_a_backlog_is_timed_by_the_agents_clock_alone():
    """An agent whose clock is an hour off is not an hour behind."""
    hour = 3600 * NS
    off = state(depth=1, t=str(NOW - hour), oldest=str(NOW - hour - 2 * NS))
    assert off.behind(NOW) == 2 * NS
    assert off.behind(NOW + 5 * NS) == 7 * NS
    assert state(online=False, depth=1, t="5", oldest="1").behind(NOW) is None


@given(st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["online", "depth", "oldest", "t", "fault", "storage"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_an_agent_says_is_a_state_or_refused(payload):
    try:
        found = read_state(payload, NOW)
    except InputError:
        return
    assert isinstance(found, AgentState)
    assert found.depth is None or 0 <= found.depth < 10**20
    assert isinstance(health(found, None, NOW), Health)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.browser
def test_the_page_shows_an_agent_down_and_catching_up_without_reload(tmp_path, browser):
    if find_mosquitto() is None:
        missing("mosquitto")
    with running(tmp_path, "device", "simulate", "eastron/sdm630", log="meter") as (_, said, _):
        _watched(tmp_path, browser, said.partition(",")[0].rpartition(":")[2])


def _watched(tmp_path, browser, meter):
    plant, state_dir, gateway = tmp_path / "plant.yaml", tmp_path / "state", tmp_path / "gateway"
    plant.write_text(MINIMAL % meter)
    open_site(state_dir, "s").close()
    port = free_port()
    words = ["agent", plant, "--name", "gw", "--state", gateway]
    run("enrol-agent", run(*words, "--show-key").stdout.strip(), "--state", state_dir)
    receipts = json.loads(run("keys", "show", "--json", "--state", state_dir).stdout)["receipts"]
    words += ["--receipts", receipts, "--broker", f"127.0.0.1:{port}"]
    words += ["--sweep", 0.05, "--flush", 0.02]
    options = ("--plant", plant, "--state", state_dir, "--broker-port", port)
    with browser(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        with serving(tmp_path, *options) as (site, url, _, _):
            page.goto(f"{url}meters?lang=en")
            row = page.get_by_test_id("agent-gw")
            with running(tmp_path, *words, log="first") as (agent, _, _):
                row.get_by_text("online", exact=True).wait_for(timeout=60_000)
                assert page.get_by_test_id("ill-gw").count() == 0
                agent.send_signal(signal.SIGKILL)
                agent.wait(timeout=30)
            row.get_by_text("offline", exact=True).wait_for(timeout=60_000)
            said = page.get_by_test_id("ill-gw").inner_text()
            assert "gw: offline" in said
            assert "No readings for" in said
            assert row.locator("[data-label=outbox]").inner_text() == "unknown"
            page.screenshot(path=tmp_path / "down.png", full_page=True)
            site.terminate()
            assert site.wait(timeout=30) == 0
        page.locator(".lost").wait_for(state="visible", timeout=30_000)
        with running(tmp_path, *words, log="second") as (agent, _, log):
            kept = until(agent, lambda: _depth(gateway), lambda depth: depth > 400)
            assert "broker_unreachable" in log.read_text()
            with serving(tmp_path, *options, log="again") as (site, url, _, _):
                page.goto(f"{url}meters?lang=en")
                busy = page.get_by_test_id("ill-gw").filter(has_text="catching up")
                busy.wait_for(timeout=60_000)
                assert "have no receipt yet" in busy.inner_text()
                assert int(row.locator("[data-label=outbox]").inner_text()) > 0
                page.screenshot(path=tmp_path / "up.png", full_page=True)
                until(site, lambda: _agent(url), lambda r: r.get("health") == "online")
                row.get_by_text("online", exact=True).wait_for(timeout=60_000)
                page.get_by_test_id("ill-gw").wait_for(state="detached", timeout=60_000)
                assert _agent(url)["envelopes"] >= kept
        assert faults == []


def _agent(url):
    rows = json.loads(ask(f"{url}api/v1/agents")[1])
    return next((row for row in rows if row["agent"] == "gw"), {})


def _depth(gateway):
    import apsw

    database = apsw.Connection(
        str(gateway / "agents" / "gw" / "outbox.db"), flags=apsw.SQLITE_OPEN_READONLY
    )
    try:
        query = "SELECT count(*) FROM message WHERE receipted IS NULL"
        return database.execute(query).fetchone()[0]
    finally:
        database.close()
