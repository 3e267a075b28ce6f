"""`meterprint serve` as a real process: starting, refusing to start, being asked, stopping."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from edge_agent.device_commands import default_instrument, simulated
from ingest.broker import Mosquitto, find_mosquitto
from ingest.broker_certificates import make_authority
from ingest.broker_port import free_port
from meterprint.site import STATE_VERSION, open_site
from tests.conftest import missing
from tests.meterprint.processes import MINIMAL, ask, refused, run, running, serving, until

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.fixture(autouse=True)
def _mosquitto_is_there():
    if find_mosquitto() is None:
        missing("mosquitto")


@pytest.fixture
def plant(tmp_path):
    file = tmp_path / "plant.yaml"
    file.write_text(MINIMAL % 1)
    return file


@pytest.fixture
def state(tmp_path):
    """A state directory of the site of the minimal plant."""
    open_site(tmp_path / "state", "s").close()
    return tmp_path / "state"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_seconds_with_everything_taken_kept(tmp_path, plant, number):
    state = tmp_path / "state"
    with serving(tmp_path, "--plant", plant, "--state", state) as (process, url, _, _):
        body = {"id": "1", "line": "l", "batch": "b", "product": "p", "event": "start"}
        assert ask(f"{url}api/v1/batch-events", {**body, "t": "2026-11-24T00:00:00Z"})[0] == 201
        asked = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - asked < 10
    site = open_site(state)
    assert [b.id for b in site.engine.engine.batches()] == ["b"]
    site.close()


def test_messages_that_were_taken_are_receipted_before_it_ends(tmp_path, plant, state):
    """An agent that stops sending finds its outbox free: no receipt is lost to the stop."""
    asyncio.run(_receipted(tmp_path, state))


async def _receipted(tmp_path, state):
    async with simulated([default_instrument("eastron/sdm630", origin=time.time_ns())]) as meter:
        plant = tmp_path / "plant.yaml"
        plant.write_text(MINIMAL % meter.port)
        await asyncio.to_thread(_stop_in_the_stream, tmp_path, state, plant)


def _agent_words(tmp_path, state, plant, port):
    gateway = tmp_path / "gateway"
    words = ("agent", plant, "--name", "gw", "--state", gateway)
    key = run(*words, "--show-key").stdout.strip()
    assert run("enrol-agent", key, "--state", state).returncode == 0
    receipts = json.loads(run("keys", "show", "--json", "--state", state).stdout)["receipts"]
    options = ("--receipts", receipts, "--broker", f"127.0.0.1:{port}")
    return (*words, *options, "--sweep", 0.1, "--flush", 0.05)


def _stop_in_the_stream(tmp_path, state, plant):
    port = free_port()
    words = _agent_words(tmp_path, state, plant, port)
    options = ("--plant", plant, "--state", state, "--broker-port", port)
    with running(tmp_path, *words, log="agent") as (agent, _, _):
        with serving(tmp_path, *options) as (process, url, _, _):
            until(process, lambda: _envelopes(url), lambda n: n > 20)
            process.terminate()
            assert process.wait(timeout=30) == 0
        with serving(tmp_path, *options, log="second") as (process, url, _, _):
            before = _envelopes(url)
            until(process, lambda: _envelopes(url), lambda n: n > before + 20)
            row = until(process, lambda: _agent(url), lambda r: r.get("health") == "online")
            assert row["quarantined"] == 0
            agent.terminate()
            assert agent.wait(timeout=30) == 0
            until(process, lambda: _agent(url), lambda r: r.get("health") == "offline")


def _agent(url):
    rows = json.loads(ask(f"{url}api/v1/agents")[1])
    return next((row for row in rows if row["agent"] == "gw"), {})


def _envelopes(url):
    return _agent(url).get("envelopes", 0)


def test_it_answers_health_readiness_and_metrics_with_help(tmp_path, plant):
    with serving(tmp_path, "--plant", plant, "--state", tmp_path / "state") as (process, url, _, _):
        assert ask(f"{url}healthz") == (200, "ok\n")
        until(process, lambda: ask(f"{url}readyz"), lambda a: a == (200, "ok\n"))
        text = ask(f"{url}metrics")[1]
    told = {
        kind: [line.split()[2] for line in text.splitlines() if line.startswith(f"# {kind} ")]
        for kind in ("HELP", "TYPE")
    }
    assert told["HELP"] == told["TYPE"]
    assert len(set(told["HELP"])) == len(told["HELP"])
    assert {
        "meterprint_messages_received_total",
        "meterprint_messages_quarantined_total",
        "meterprint_engine_lag_entries",
        "meterprint_outbox_depth_envelopes",
        "meterprint_commit_seconds",
        "meterprint_findings",
        "meterprint_view_lag_entries",
        "meterprint_view_spool_readings",
        "meterprint_ready",
        "process_resident_memory_bytes",
    } <= set(told["HELP"])
    assert "meterprint_ready 1.0" in text


def test_without_a_plant_it_is_not_ready_and_says_so(tmp_path, state):
    with serving(tmp_path, "--state", state) as (process, url, _, _):
        until(process, lambda: ask(f"{url}readyz"), lambda a: a == (503, "no_plant\n"))
        assert "no plant is described" in ask(f"{url}?lang=en")[1].lower()


def test_without_a_broker_it_serves_waits_and_is_ready_once_one_is_there(tmp_path, plant):
    port = free_port()
    options = ("--plant", plant, "--state", tmp_path / "state", "--broker", f"127.0.0.1:{port}")
    with serving(tmp_path, *options) as (process, url, _, _):
        wanted = f"no_broker: 127.0.0.1:{port}\n"
        until(process, lambda: ask(f"{url}readyz"), lambda a: a == (503, wanted))
        body = {"id": "1", "line": "l", "batch": "b", "product": "p", "event": "start"}
        assert ask(f"{url}api/v1/batch-events", {**body, "t": "2026-11-24T00:00:00Z"})[0] == 201
        broker = Mosquitto(tmp_path / "broker", port)
        try:
            until(process, lambda: ask(f"{url}readyz"), lambda a: a == (200, "ok\n"))
        finally:
            broker.stop()


def test_its_own_broker_comes_back_when_it_was_killed(tmp_path, plant):
    state = tmp_path / "state"
    with serving(tmp_path, "--plant", plant, "--state", state) as (process, url, port, log):
        until(process, lambda: ask(f"{url}readyz"), lambda a: a == (200, "ok\n"))
        family = Path(f"/proc/{process.pid}/task").glob("*/children")
        broker = [int(word) for file in family for word in file.read_text().split()]
        assert len(broker) == 1
        os.kill(broker[0], signal.SIGKILL)
        until(process, lambda: "broker_restarted" in log.read_text(), bool)
        until(process, lambda: ask(f"{url}readyz"), lambda a: a == (200, "ok\n"))
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), ("no account is configured", "user set")),
        (("--port", "70000"), ("web.port", "70000")),
        (("--broker", "nowhere"), ("host:port is expected",)),
        (("--broker", "192.0.2.1:1883"), ("in the clear", "broker init")),
        (("--config", "absent.toml"), ("absent.toml", "cannot be read")),
        (("--log-format", "xml"), ("log.format", "xml")),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(tmp_path, plant, words, said):
    asked = ("serve", "--plant", plant, "--state", tmp_path / "state", *words)
    answer = refused(*asked)
    assert all(word in answer for word in said), answer


def test_an_occupied_port_is_named_with_the_way_out(tmp_path, plant):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        asked = ("serve", "--plant", plant, "--state", tmp_path / "state")
        for ports in (("--port", port, "--broker-port", 0), ("--port", 0, "--broker-port", port)):
            answer = refused(*asked, *ports)
            assert str(port) in answer
            assert "hint:" in answer
        words = ("replay", "--example", "steel_plant", "--state", tmp_path / "replay")
        assert str(port) in refused(*words, "--port", port)


def test_a_broken_plant_file_starts_nothing(tmp_path):
    file = tmp_path / "plant.yaml"
    file.write_text((MINIMAL % 1).replace("resolution: 0.01", "resolution: none"))
    asked = ("serve", "--plant", file, "--state", tmp_path / "state")
    answer = refused(*asked)
    assert f"{file}:9: instruments[0].registers[0].resolution" in answer
    assert not (tmp_path / "state").exists()


def test_a_state_directory_of_another_site_or_version_is_left_alone(plant, state):
    for text, word in (
        (json.dumps({"site": "other", "state": STATE_VERSION}), "belongs to site other"),
        ('{"site": "s", "state": 99}', "layout 99"),
        ("{broken", "site.json"),
        ('["s"]', "site.json"),
    ):
        (state / "site.json").write_text(text)
        before = {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}
        assert word in refused("serve", "--plant", plant, "--state", state)
        assert {p: p.read_bytes() for p in state.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("place", ["/proc/meterprint", "a-file", "a-file/below"])
def test_a_state_directory_that_cannot_be_written_is_named(tmp_path, plant, place):
    (tmp_path / "a-file").write_text("")
    where = place if place.startswith("/") else tmp_path / place
    for words in (("serve", "--plant", plant), ("demo", "--for", 1), ("batch", "list")):
        assert str(where) in refused(*words, "--state", where)


def test_with_accounts_and_a_certificate_it_serves_https_off_loopback(tmp_path, plant, state):
    make_authority(tmp_path / "ca", "web", [])
    secret = run("user", "set", "ann", "--role", "operator", "--password-stdin", "--state", state,
                 typed="a long enough password\n")  # fmt: skip
    assert secret.returncode == 0, secret.stderr
    made = run("user", "token", "probe", "--role", "verifier", "--json", "--state", state)
    token = json.loads(made.stdout)["token"]
    listed = json.loads(run("user", "list", "--json", "--state", state).stdout)
    assert [(row["name"], row["role"], row["kind"]) for row in listed] == [
        ("ann", "operator", "password"),
        ("probe", "verifier", "token"),
    ]
    (state / "meterprint.toml").write_text(
        f'[web]\nhost = "0.0.0.0"\ncertificate = "{tmp_path}/ca/broker-server.pem"\n'
        f'key = "{tmp_path}/ca/broker-server.key"\n[log]\nformat = "json"\n'
    )
    with serving(tmp_path, "--plant", plant, "--state", state) as (process, url, _, log):
        assert url.startswith("https://0.0.0.0:")
        near = url.replace("0.0.0.0", "127.0.0.1")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "ca" / "broker-ca.pem"))
        assert ask(f"{near}api/v1/meters", context=trusted)[0] == 401
        assert ask(f"{near}api/v1/meters", token=token, context=trusted)[0] == 200
        assert ask(f"{near}healthz", context=trusted)[0] == 200
        until(process, lambda: ask(f"{near}readyz", context=trusted)[0], lambda s: s == 200)
    for line in log.read_text().splitlines():
        assert {"event", "level", "timestamp"} <= set(json.loads(line)), line


def test_an_agent_with_its_certificate_delivers_over_tls_and_one_without_does_not(tmp_path, state):
    asyncio.run(_over_tls(tmp_path, state))


async def _over_tls(tmp_path, state):
    async with simulated([default_instrument("eastron/sdm630", origin=time.time_ns())]) as meter:
        plant = tmp_path / "plant.yaml"
        plant.write_text(MINIMAL % meter.port)
        await asyncio.to_thread(_secured, tmp_path, state, plant)


def _secured(tmp_path, state, plant):
    assert run("broker", "init", "--name", "site.example", "--state", state).returncode == 0
    (tmp_path / "ca.pem").write_text(run("broker", "ca", "--state", state).stdout)
    config = run("broker", "config", "--state", state).stdout
    assert "require_certificate true" in config
    port = free_port()
    words = _agent_words(tmp_path, state, plant, port)
    key = run(*words, "--show-key").stdout.strip()
    done = run("enrol-agent", key, "--certificate", tmp_path / "gw.pem", "--state", state)
    assert done.returncode == 0, done.stderr
    options = ("--plant", plant, "--state", state, "--broker-port", port)
    with serving(tmp_path, *options) as (process, url, _, _):
        until(process, lambda: ask(f"{url}readyz"), lambda a: a == (200, "ok\n"))
        certified = ("--ca", tmp_path / "ca.pem", "--certificate", tmp_path / "gw.pem")
        with running(tmp_path, *words, *certified, log="agent"):
            until(process, lambda: _envelopes(url), lambda n: n > 5)
        until(process, lambda: _agent(url), lambda r: r.get("health") == "offline")
        before = _envelopes(url)
        with running(tmp_path, *words, log="bare"):  # the same agent in the clear
            until(process, lambda: "broker_gone" in (tmp_path / "bare").read_text(), bool)
        assert _envelopes(url) == before
