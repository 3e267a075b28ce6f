"""The event stream says the figures that are other ones, then the version."""

from __future__ import annotations

import asyncio
import json
import random

from dashboards.read_model import ReadModel
from dashboards.stream import KEPT, Changes, stream
from footprint.exact import decimal_text
from tests.ingest.random_plant import Plant


class Shown:
    """What the stream needs of a running site."""

    def __init__(self, site):
        self.engine = site.engine
        self.agent_states = self.arrivals = {}


def events(text):
    """(kind, data) of each event."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], json.loads(fields["data"])))
    return found


async def next_of(told):
    """Events of the next thing a stream says that is not a ping."""
    while (text := await anext(told)).startswith(":"):
        pass
    return events(text)


async def never():
    return False


def test_a_stream_tells_the_figure_of_each_batch_that_changed(tmp_path):
    plant = Plant(tmp_path / "site", random.Random(4))
    site = plant.site
    read = ReadModel(Shown(site), site.engine.changes.wait)

    async def follow():
        changes = Changes(read)
        async with changes.following():
            told = stream(changes, never)
            body = {"id": "s", "line": "l0", "t": str(10**9), "batch": "B", "event": "start"}
            site.events.take({**body, "product": "p"}, "t")
            await asyncio.to_thread(site.refresh)
            while (await next_of(told))[-1] != ("change", site.engine.changes.version):
                pass
            for _ in range(3):
                plant.read()
                site.journal.append(plant.held)
                plant.held.clear()
                before = site.engine.changes.version
                await asyncio.to_thread(site.refresh)
                if site.engine.changes.version == before:
                    continue
                *figures, last = await next_of(told)
                assert last == ("change", site.engine.changes.version)
                result = site.engine.results["B"]
                assert [(kind, row["batch"]) for kind, row in figures] == [("footprint", "B")]
                assert figures[0][1]["footprint"] == decimal_text(result.footprint)
                assert figures[0][1]["state"] == "provisional"

    try:
        asyncio.run(follow())
    finally:
        site.close()


def test_a_slow_stream_hears_what_it_missed_as_far_as_it_is_kept(tmp_path):
    plant = Plant(tmp_path / "site", random.Random(4))
    changes = Changes(ReadModel(Shown(plant.site), plant.site.engine.changes.wait))
    plant.site.close()
    for version in range(1, KEPT + 10):
        changes._said.append((version, f"id: {version}\n\n"))
        changes.version = version
    last = changes.version
    assert changes.since(last - 2) == f"id: {last - 1}\n\nid: {last}\n\n"
    assert changes.since(3) == f"id: {last}\nevent: change\ndata: {last}\n\n"
    assert changes.since(-1) == f"id: {last}\nevent: change\ndata: {last}\n\n"
