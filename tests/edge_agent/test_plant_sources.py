"""What an agent reads of a plant, and who its instruments say they are."""

from __future__ import annotations

import asyncio
import threading

import pytest

from device_profiles.loading import load_profile
from edge_agent.device_commands import default_instrument, simulated
from edge_agent.load_curve import LoadCurve, WeighCycle
from edge_agent.plant_sources import open_plant
from edge_agent.simulator import SimulatedInstrument
from footprint.plant_reading import read_plant
from mrv.errors import InputError


class Floor:
    """Simulated instruments in a thread of their own."""

    def __init__(self, *groups):
        self.groups = groups
        self.ports = []
        self.ready = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=(self._run(),))

    async def _run(self):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        made = [simulated(group) for group in self.groups]
        self.ports = [(await one.__aenter__()).port for one in made]
        self.ready.set()
        await self.stop.wait()
        for one in made:
            await one.__aexit__(None, None, None)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(30)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(30)


def plant_of(*instruments):
    plant, faults = read_plant(
        {
            "site": "s",
            "lines": [{"id": "l"}],
            "products": [{"id": "p", "unit": "piece"}],
            "instruments": list(instruments),
            "sources": [],
        }
    )
    assert faults == []
    return plant


def meter(name, port, unit="1", profile="eastron/sdm630", register="energy_import", **more):
    kind = "amount" if register == "weight" else "counter"
    unit_of = "kg" if register == "weight" else "kWh"
    return {
        "id": name,
        "agent": "gw",
        "profile": profile,
        "source": {"url": f"tcp://127.0.0.1:{port}", "unit": unit},
        "registers": [{"id": register, "kind": kind, "unit": unit_of, "resolution": "0.01"}],
        **more,
    }


def test_the_table_says_which_meter_answered():
    load = LoadCurve(1, 1000, 0, 0)
    sdm, weigher = load_profile("eastron/sdm630"), load_profile("mettler_toledo/mt_sics")
    bus = [SimulatedInstrument(sdm, load, "1", "777"), SimulatedInstrument(sdm, load, "2", "888")]
    scale = [SimulatedInstrument(weigher, WeighCycle(1, 900, 5, 0), serial="B5")]
    dlt = [default_instrument("dlt645/three_phase", "42")]
    with Floor(bus, scale, dlt) as floor:
        one, two, three = floor.ports
        plant = plant_of(
            meter("stated", one, "1", serial="630001"),
            meter("unstated", one, "2"),
            meter("w", two, profile="mettler_toledo/mt_sics", register="weight", serial="B5"),
            meter("d", three, "000000000042", "dlt645/three_phase", serial="42"),
        )
        opened = open_plant(plant, "gw")
    serials = {c.instrument: c.serial for c in opened.table.channels}
    assert serials == {"stated": "777", "unstated": "unstated", "w": "B5", "d": "42"}
    assert len(opened.sources) == 3


def test_a_bus_that_does_not_answer_keeps_what_the_plant_states():
    with Floor([default_instrument("eastron/sdm630")]) as floor:
        port = floor.ports[0]
    opened = open_plant(plant_of(meter("m", port, serial="5")), "gw")
    assert [c.serial for c in opened.table.channels] == ["5"]


def test_an_agent_without_instruments_and_an_instrument_without_a_bus_are_told():
    with pytest.raises(InputError, match="no instrument") as caught:
        open_plant(plant_of(meter("m", 1)), "other")
    assert "gw" in caught.value.hint
    bare = {**meter("m", 1), "source": {}}
    with pytest.raises(InputError, match=r"no source.url"):
        open_plant(plant_of(bare), "gw")
