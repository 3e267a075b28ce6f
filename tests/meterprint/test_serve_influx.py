"""The running site with a real InfluxDB: the whole path, a hanging server, a rebuild."""

from __future__ import annotations

import contextlib
import json
import threading

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.chain import StreamChain
from edge_agent.source import RawReading
from ingest.influx_connection import InfluxAddress, InfluxConnection
from ingest.influx_setup import prepare
from ingest.series_influx import InfluxStore
from meterprint import views
from meterprint.live import LiveSite
from meterprint.site import open_site
from meterprint.views import INFLUX, open_park
from mrv.envelope import Clock, ClockState
from mrv.verification.note import SecretKey
from tests.ingest.bad_servers import Silent
from tests.ingest.influx_work import NAMES, dump
from tests.meterprint.processes import run

SITE = "influx-site"
S = 10**9


def envelopes(key, count, each=50):
    chain = StreamChain(SITE, "line-1", key, "", None)
    clock = Clock(ClockState.SYNCHRONISED, 5, "t")
    made = []
    for start in range(0, count * each, each):
        rows = [
            RawReading(f"m{i % 5}.energy", (start + i) // 5 * S, 0, start + i) for i in range(each)
        ]
        made += [out.note for out in chain.cut(rows, clock)]
    return made


def publish(live, agent, messages):
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if live.broker.username:
        client.username_pw_set(live.broker.username, live.broker.password)
    client.connect("127.0.0.1", live.broker.port)
    client.loop_start()
    topic = f"meterprint/1/{SITE}/{agent}/readings/line-1"
    for message in messages:
        client.publish(topic, message, qos=1).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def until(condition):
    tick = threading.Event()
    while not condition():
        tick.wait(0.01)


@pytest.fixture
def key():
    return SecretKey.generate("agent-1")


@pytest.fixture
def site(tmp_path, key):
    with contextlib.closing(open_site(tmp_path / "state", SITE)) as made:
        made.enrol_agent(key.public)
        yield made


@pytest.mark.influx
@pytest.mark.broker
def test_readings_go_all_the_way_and_a_rebuild_gives_the_same_points(
    influxd, mosquitto, site, key, monkeypatch
):
    address = influxd.address(next(NAMES))
    prepare(InfluxConnection(address))
    live = LiveSite(site, influx=InfluxStore.at(address, SITE, open_park(site.state)))
    view = live.views[INFLUX]
    try:
        publish(live, "agent-1", envelopes(key, 40))
        until(lambda: live.receiver.tally.accepted == 40 and view.projector.lag == 0)
    finally:
        live.close()
    assert view.projector.status.refusals == 0
    assert view.parked == {}
    site.close()
    first = dump(address)
    assert sum(len(rows) for _, rows in first) == 2000
    words = ["rebuild", "--state", str(site.state), "--influx", influxd.url]
    words += ["--database", address.database, "--json"]
    for name, value in influxd.environment().items():
        monkeypatch.setenv(name, value)
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"]["influx"] == 2000
    assert dump(address) == first


@pytest.mark.broker
def test_a_hanging_influxdb_stops_neither_the_site_nor_its_end(mosquitto, site, key, monkeypatch):
    monkeypatch.setattr(views, "REMOTE_STOP_S", 0.05)
    silent = Silent()
    store = InfluxStore.at(InfluxAddress(silent.url), SITE, timeout_s=3600)
    live = LiveSite(site, influx=store)
    try:
        assert silent.asked.wait(60)
        publish(live, "agent-1", envelopes(key, 20))
        until(lambda: live.receiver.tally.accepted == 20)
        until(lambda: site.engine.lag == 0)
        assert live.views[INFLUX].projector.status.lag >= 20
    finally:
        live.close()
        silent.close()
