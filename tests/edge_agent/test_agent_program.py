"""The gateway's program: a simulated Modbus meter, read, signed, receipted, in the engine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from edge_agent.device_commands import default_instrument, simulated
from ingest.broker import find_mosquitto
from meterprint.live import LiveSite
from meterprint.plant_file import load_plant
from meterprint.site import open_site
from mrv.verification.note import PublicKey
from tests.conftest import REPO, missing


@pytest.mark.slow
@pytest.mark.broker
def test_a_gateway_reads_a_meter_and_its_readings_reach_the_engine(tmp_path):
    if find_mosquitto() is None:
        missing("mosquitto")
    asyncio.run(_gateway(tmp_path))


async def _gateway(tmp_path):
    async with simulated(
        [default_instrument("eastron/sdm630", origin=time.time_ns())]
    ) as simulator:
        plant = tmp_path / "plant.yaml"
        plant.write_text(
            "site: s\nlines: [{id: l}]\nproducts: [{id: p, unit: piece}]\n"
            "instruments:\n  - id: m\n    agent: gw\n    profile: eastron/sdm630\n"
            f"    source: {{url: 'tcp://127.0.0.1:{simulator.port}', unit: '1'}}\n"
            "    registers: [{id: energy_import, kind: counter, unit: kWh, resolution: 0.01}]\n"
            "sources: [{id: e, line: l, instrument: m, register: energy_import}]\n"
        )
        await asyncio.to_thread(_ingest, tmp_path, plant)


def _ingest(tmp_path, plant):
    command = [sys.executable, "-m", "meterprint.cli", "agent", str(plant), "--name", "gw"]
    command += ["--state", str(tmp_path / "gateway")]
    shown = subprocess.run(
        [*command, "--show-key"], cwd=REPO, capture_output=True, text=True, check=True
    )
    site = open_site(tmp_path / "site", "s")
    site.state_plant(load_plant(plant), 0)
    site.enrol_agent(PublicKey.parse(shown.stdout))
    live = LiveSite(site)
    receipts = site.keyring.receipts.public.vkey
    where = f"127.0.0.1:{live.broker.port}"
    options = ["--receipts", receipts, "--broker", where, "--sweep", "0.1", "--flush", "0.05"]
    running = subprocess.Popen([*command, *options], cwd=REPO)
    base = {"line": "l", "batch": "b", "id": "1", "event": "start", "product": "p"}
    base["t"] = str(time.time_ns())
    live.batch_event(base, "t")
    version = 0
    while site.engine.reading_count < 20:
        seen = site.engine.changes.wait(version, 60)
        assert seen > version, "nothing arrives"
        version = seen
    running.terminate()
    assert running.wait(timeout=30) == 0
    live.close()
    assert site.engine.readings.sources("m.energy_import")
    assert site.quarantine.counts() == {}
    site.close()
