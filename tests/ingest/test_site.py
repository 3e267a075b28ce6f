"""A site as a whole: a missing broker, strangers, a second agent, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import pytest

from edge_agent.chain import StreamChain
from edge_agent.mapping import read_mapping
from edge_agent.replay import read_replay
from edge_agent.source import RawReading
from footprint.plant_reading import read_plant
from ingest.broker_port import free_port
from ingest.entry import Draft, EntryKind
from ingest.subscriber import Subscriber
from meterprint.plant_file import PlantFile, check_plant
from meterprint.site import open_site
from mrv.channel import AssuranceTier, Channel, ChannelKind, ChannelTable, render_table
from mrv.envelope import Clock, ClockState, parse
from mrv.errors import InputError, MeterprintError
from mrv.verification.note import SecretKey, identity, sign, split
from tests.conftest import REPO
from tests.faults.drilled_site import FACTOR, PLANT
from tests.faults.processes import SITE

S = 10**9


@pytest.fixture
def site(tmp_path):
    plant, _ = read_plant(PLANT)
    made = open_site(tmp_path / "state", SITE)
    made.state_plant(PlantFile(tmp_path, plant, PLANT, (("x", (FACTOR,)),), ()), 0)
    yield made
    made.close()


def deliver(site, agent, channel, values):
    """Journal readings as if an agent had sent them."""
    key = SecretKey.generate(agent)
    site.enrol_agent(key.public)
    instrument, _, register = channel.partition(".")
    row = Channel(
        channel,
        ChannelKind.COUNTER,
        instrument,
        instrument,
        register,
        Fraction(1, 100),
        "kWh",
        Fraction(1),
        "",
        AssuranceTier.AGENT_SIGNED,
    )
    text = render_table(ChannelTable(SITE, agent, (row,)))
    drafts = [Draft(EntryKind.TABLE, sign(text, key), identity(text))]
    chain = StreamChain(SITE, "line", key, identity(text), None, now=lambda: 0)
    clock = Clock(ClockState.SYNCHRONISED, 1, "t")
    rows = [RawReading(channel, i * 10 * S, 0, v) for i, v in enumerate(values)]
    for out in chain.cut(rows, clock):
        envelope = parse(split(out.note)[0])
        drafts.append(Draft(EntryKind.ENVELOPE, out.note, out.identity, envelope=envelope))
    site.journal.append(drafts)


def rules(site):
    site.refresh()
    return {finding.rule for finding in site.engine.findings()}


def test_a_missing_broker_is_a_clear_error(site):
    with pytest.raises(MeterprintError, match="no MQTT broker") as caught:
        Subscriber(None, SITE, free_port())
    assert caught.value.hint


def test_readings_of_an_unknown_instrument_are_kept_and_found(site):
    deliver(site, "agent-1", "ghost.energy", [1, 2, 3])
    assert "unknown_instrument" in rules(site)
    assert site.engine.reading_count == 3


def test_a_second_agent_on_one_meter_is_a_check_and_counts_nothing_twice(site):
    base = {"line": "l", "batch": "b"}
    site.events.take({**base, "id": "1", "event": "start", "product": "p", "t": "0"}, "t")
    site.events.take({**base, "id": "2", "event": "end", "good": "1", "t": str(40 * S)}, "t")
    deliver(site, "agent-1", "m.energy", [0, 10, 20, 30, 40])
    site.refresh()
    alone = site.engine.results["b"].footprint
    deliver(site, "agent-2", "m.energy", [0, 10, 20, 30, 40])
    assert "second_channel" in rules(site)
    assert site.engine.results["b"].footprint == alone


def test_a_state_directory_of_another_site_is_refused(site, tmp_path):
    with pytest.raises(InputError, match="belongs to"):
        open_site(tmp_path / "state", "another")
    with pytest.raises(InputError, match="no state directory"):
        open_site(tmp_path / "nothing")


def test_a_broken_row_is_a_finding_with_its_line_and_the_others_are_read(tmp_path):
    (tmp_path / "map.yaml").write_text(
        "agent: a\nstream: s\ntime_format: '%Y-%m-%d %H:%M'\ntables:\n"
        "  - file: t.csv\n    kind: amount\n    time: at\n    length_s: 60\n    columns:\n"
        "      - {column: kWh, channel: m.e, resolution: 0.1, unit: kWh}\n"
        "batches: {line: l, product: p, by: day}\n"
    )
    (tmp_path / "t.csv").write_text(
        "at,kWh\n2026-01-01 00:00,1.5\nnonsense,2\n2026-01-01 00:02,NaN\n"
        "2026-01-01 00:03,2.5,9\n2026-01-01 00:04,3.5\n"
    )
    replay = read_replay(read_mapping(tmp_path / "map.yaml"), tmp_path)
    assert [r.v for r in replay.readings] == [15, 35]
    assert [f.subject for f in replay.findings] == ["t.csv:3", "t.csv:4", "t.csv:5"]
    assert {f.rule for f in replay.findings} == {"broken_row"}


def test_a_typo_in_a_plant_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "plant.yaml"
    path.write_text("site: s\nlines:\n  - id: l\nproducts:\n  - id: p\n    unti: piece\n")
    _, faults = check_plant(path)
    found = {(f.line, f.field): f.hint for f in faults}
    assert found[6, "products[0].unti"] == "did you mean unit?"
    path.write_text("site: [s\n")
    _, faults = check_plant(path)
    assert faults[0].line > 0


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "meterprint.cli", *arguments],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_states_facts_and_lists_them(site, tmp_path):
    state = str(tmp_path / "state")
    site.journal.checkpoint()
    done = run("batch", "start", "b9", "--line", "l", "--product", "p", "--state", state, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chain"] == "production/l"
    done = run("batch", "end", "b9", "--line", "nine", "--good", "3", "--state", state)
    assert done.returncode == 2
    assert "hint: lines: l" in done.stderr
    done = run("batch", "list", "--state", state, "--json")
    assert [row["batch"] for row in json.loads(done.stdout)] == ["b9"]
    closing = ("--closing", "energy=120", "--opening", "energy=0")
    when = ("--at", "2026-11-24T12:00:00+08:00")
    done = run("instrument", "exchange", "m", *when, *closing, "--state", state)
    assert done.returncode == 0, done.stderr
    done = run("journal", "check", "--state", state, "--json")
    assert json.loads(done.stdout)["faults"] == []
    held = site.journal.size
    site.refresh()
    assert site.journal.size > held
    assert "b9" in site.engine.results
    site.events.take(
        {
            "id": "z",
            "line": "l",
            "batch": "b9",
            "event": "end",
            "good": "3",
            "t": "2026-11-25T12:00:00+08:00",
        },
        "t",
    )
    assert site.journal.verify() == []
    assert run("footprint", "nobody", "--state", state).returncode == 2
    assert run("verify", str(tmp_path / "none.zip")).returncode == 2
