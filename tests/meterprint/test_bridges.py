"""`bridges:` of a plant file, a file of bridges, and `serve` with both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meterprint.cli import app
from tests.ingest.bridging import BRIDGES, PLANT

REPO = Path(__file__).resolve().parents[2]


def indented(text):
    return "".join(f"  {line}\n" for line in text.strip().splitlines())


@pytest.fixture
def files(tmp_path):
    """(plant.yaml with bridges inside, plant.yaml without, bridges.yaml)."""
    inside, plain, apart = (tmp_path / n for n in ("inside.yaml", "plain.yaml", "bridges.yaml"))
    inside.write_text(f"{PLANT}bridges:\n{indented(BRIDGES)}")
    plain.write_text(PLANT)
    apart.write_text(f"bridges:\n{indented(BRIDGES)}")
    return inside, plain, apart


def check(*arguments):
    done = CliRunner().invoke(app, ["check", *map(str, arguments), "--json"])
    return done.exit_code, json.loads(done.stdout)


def test_bridges_are_checked_inside_a_plant_file_and_beside_it(files):
    inside, plain, apart = files
    assert check(inside)[0] == 0
    assert check(plain, "--bridge", apart)[0] == 0


def test_a_fault_has_its_file_line_and_field(files):
    inside, plain, apart = files
    for path in (inside, apart):
        path.write_text(path.read_text().replace("unit: Wh", "unit: tkm"))
    line = next(i for i, t in enumerate(inside.read_text().splitlines(), 1) if "unit: tkm" in t)
    status, answer = check(inside)
    assert status == 2
    assert (answer["errors"][0]["file"], answer["errors"][0]["line"]) == (str(inside), line)
    assert answer["errors"][0]["field"] == "bridges[0].messages[0].values[0].unit"
    status, answer = check(plain, "--bridge", apart)
    assert status == 2
    assert answer["errors"][0]["file"] == str(apart)
    assert answer["errors"][0]["line"] > 0


def test_two_bridges_of_one_name_are_refused(files):
    inside, _, apart = files
    status, answer = check(inside, "--bridge", apart)
    assert status == 2
    assert "two bridges" in answer["errors"][0]["seen"]


def test_the_example_of_the_guide_is_a_mapping(files):
    _, plain, apart = files
    text = (REPO / "docs" / "how-to" / "bridge.md").read_text()
    apart.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    assert check(plain, "--bridge", apart)[0] == 0


@pytest.mark.broker
@pytest.mark.slow
def test_serve_takes_in_foreign_devices_as_tier_d(files, tmp_path, mosquitto):
    """The real program beside a broker of somebody else; batches end closed, not final."""
    from tests.ingest.test_bridge import TOPIC, Publisher

    _, plain, apart = files
    plain.write_text(
        PLANT.replace("    register: energy\n", "    register: energy\n    factor: {id: one}\n")
        + "factors: [factors.csv]\n"
    )
    (tmp_path / "factors.csv").write_text(
        "id,name,category,region,valid_from,valid_to,value,unit,gas_or_co2e,gwp_basis,"
        "uncertainty_pct,source,source_year,notes\n"
        "one,One,electricity_co2,GLO,,,1,kgCO2e/kWh,CO2e,n/a,,A test's own,2026,\n"
    )
    apart.write_text(
        apart.read_text().replace(
            "stream: hall", f"stream: hall\n    broker: {{port: {mosquitto.port}}}"
        )
    )
    command = [sys.executable, "-m", "meterprint.cli", "serve", "--plant", str(plain)]
    command += ["--state", str(tmp_path / "state"), "--bridge", str(apart)]
    program = subprocess.Popen(
        [*command, "--port", "0", "--broker-port", "0"],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = program.stdout.readline().split()[0]
        now = time.time_ns() // 10**6
        start, end = now - 60_000, now - 10_000
        for kind, moment in (("start", start), ("end", end)):
            body = {"id": kind, "line": "hall", "batch": "B-1", "product": "part", "event": kind}
            body |= {"t": f"{moment}000000"} | ({"good": "10"} if kind == "end" else {})
            request = urllib.request.Request(
                f"{url}api/v1/batch-events",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            urllib.request.urlopen(request, timeout=30).read()
        publisher = Publisher(mosquitto.port)
        watt_hours = [1000 + 10 * i for i in range(8)]
        publisher.send(
            *(
                (
                    TOPIC,
                    b'{"ts":%d,"total":%d,"unit":"Wh","now":{"power":1},"ok":true}'
                    % (start + 10_000 * i - 10_000, total),
                )
                for i, total in enumerate(watt_hours)
            )
        )
        publisher.close()
        events = urllib.request.urlopen(f"{url}events", timeout=60)
        for _ in range(200):  # lines of the stream, at least one a second
            answer = urllib.request.urlopen(f"{url}api/v1/batches/B-1", timeout=30)
            batch = json.loads(answer.read())
            if batch["sources"] and batch["sources"][0]["parts"].get("direct") == "0.05":
                break
            events.readline()
        assert batch["state"] == "closed"
        assert batch["sources"][0]["parts"]["direct"] == "0.05"
        metrics = urllib.request.urlopen(f"{url}metrics", timeout=30).read().decode()
        assert (
            'meterprint_bridge_messages_total{bridge="hall-bridge",outcome="received"} 8.0'
            in metrics
        )
        agents = json.loads(urllib.request.urlopen(f"{url}api/v1/agents", timeout=30).read())
        assert [row["online"] for row in agents if row["agent"] == "hall-bridge"] == [True]
        assert [source["tier"] for source in batch["sources"]] == ["D"]
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(30)
        program.stdout.close()
