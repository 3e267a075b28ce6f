"""An outbox its disk has changed is set aside; the agent goes on, and sends what can be read."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox, OutboxDamaged, OutboxError
from edge_agent.source import RawReading
from mrv.envelope import Clock, ClockState, parse
from mrv.errors import MeterprintError
from mrv.verification.note import SecretKey, identity, split
from tests.edge_agent.test_publisher import LONG, Plant, S
from tests.faults.test_hostile import TABLE

KEY = SecretKey.generate("a")
CLOCK = Clock(ClockState.SYNCHRONISED, 1, "t")
COUNT = 120


def agent_on(path):
    outbox = Outbox(path)
    return outbox, Agent(TABLE, {"m.e": "l", "air.e": "l"}, KEY, outbox, lambda: CLOCK)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The bytes of an outbox with messages, and their identities."""
    path = tmp_path_factory.mktemp("filled") / "outbox.db"
    outbox, agent = agent_on(path)
    for number in range(COUNT):
        agent.add([RawReading("m.e", number * S, 0, number)])
        agent.flush()
    names = {message.identity for message in outbox.everything()}
    outbox.close()
    return path.read_bytes(), names


def damaged(filled, path, seed, most=400):
    chance = random.Random(seed)
    content = bytearray(filled[0])
    for _ in range(chance.choice([1, 20, most])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**9))
def test_whatever_bits_a_disk_flips_the_agent_keeps_what_it_reads_now(
    filled, tmp_path_factory, seed
):
    folder = tmp_path_factory.mktemp("flips")
    damaged(filled, folder / "outbox.db", seed)
    outbox, agent = agent_on(folder / "outbox.db")
    agent.add([RawReading("m.e", 10**18, 0, 7)])
    assert agent.flush()
    for _ in range(2):
        try:
            found = list(outbox.everything())
            outbox.pending(limit=COUNT)
            break
        except OutboxDamaged:
            outbox.rescue()
            agent.add([RawReading("m.e", 10**18 + 1, 0, 8)])
            agent.flush()
    values = []
    for message in found:
        try:
            text = split(message.note)[0]
        except MeterprintError:
            continue  # the site's quarantine says so
        if identity(text) == message.identity and message.stream:
            values += [v for column in parse(text).cols for v in column.v]
    assert values[-1] in {7, 8}
    assert outbox.rescues <= 2
    assert len(list(folder.glob("outbox-damaged-*.db"))) == outbox.rescues
    outbox.close()


@pytest.mark.parametrize(
    "damage",
    [
        "identity = CAST(x'b9' AS TEXT)",
        "seq = 1.5",
        "epoch = x'00'",
        "epoch = char(22)",
        "identity = replace(identity, substr(identity, 1, 1), char(22))",
    ],
)
def test_a_head_that_cannot_be_read_is_found_out_before_anything_is_built_on_it(tmp_path, damage):
    path = tmp_path / "outbox.db"
    outbox, agent = agent_on(path)
    agent.add([RawReading("m.e", S, 0, 1)])
    agent.flush()
    epoch = outbox.head("l").epoch
    outbox.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE head SET {damage}")
    outbox, agent = agent_on(path)
    assert outbox.rescues == 1
    assert outbox.head("l").epoch == epoch
    agent.add([RawReading("m.e", 2 * S, 0, 2)])
    agent.flush()
    notes = [split(message.note)[0] for message in outbox.everything() if message.stream]
    assert [v for text in notes for column in parse(text).cols for v in column.v] == [1, 2]
    outbox.close()


def test_a_flip_in_the_text_of_the_tables_loses_nothing(tmp_path):
    path = tmp_path / "outbox.db"
    outbox, agent = agent_on(path)
    agent.add([RawReading("m.e", S, 0, 1)])
    agent.flush()
    kept = [message.identity for message in outbox.everything()]
    outbox.close()
    content = path.read_bytes()
    assert content.count(b"id INTEGER PRIMARY KEY") == 1
    path.write_bytes(content.replace(b"id INTEGER PRIMARY KEY", b"id INTEGER PRIMAZY KEY"))
    outbox, _ = agent_on(path)
    assert outbox.rescues == 1
    assert [message.identity for message in outbox.everything()][: len(kept)] == kept
    outbox.close()


@pytest.mark.parametrize("content", [b"nonsense" * 4096, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_file_that_is_no_database_is_set_aside(tmp_path, content):
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    outbox, agent = agent_on(path)
    agent.add([RawReading("m.e", S, 0, 1)])
    assert agent.flush()
    outbox.close()
    assert (tmp_path / "outbox-damaged-1.db").read_bytes()[: len(content)] == content


def test_an_outbox_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutboxError, match="cannot open") as seen:
        Outbox(tmp_path / "file" / "outbox.db")
    assert seen.value.hint


@pytest.mark.slow
@pytest.mark.broker
def test_what_can_be_read_of_a_damaged_outbox_arrives_and_so_does_what_comes_after(
    tmp_path, mosquitto
):
    """A stretch of the disk is lost in the middle of a backlog."""
    first = Plant(tmp_path, mosquitto.port)
    first.read(300, each=5)
    first.close()
    path = tmp_path / "outbox.db"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = b"\xa5" * 3 * 4096
    path.write_bytes(content)
    plant = Plant(tmp_path, mosquitto.port)
    plant.key, plant.sent = first.key, first.sent
    plant.agent = Agent(TABLE, {"m.e": "l", "air.e": "l"}, first.key, plant.outbox, lambda: CLOCK)
    plant.ingest()
    plant.connect()
    plant.read(20, each=5)
    assert plant.publisher.drained.wait(LONG)
    values = sorted(v // 7 for e in plant.envelopes() for c in e.cols for v in c.v)
    assert len(values) == len(set(values)), "nothing stands twice"
    assert values[-100:] == list(range(1500, 1600)), "what was read afterwards is whole"
    assert 1200 < len(values) < 1600
    assert plant.outbox.rescues == 1
    assert plant.publisher._state(online=True)["outbox_damaged"] == 1
    plant.close()
