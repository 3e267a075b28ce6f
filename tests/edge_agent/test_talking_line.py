"""A line that is never silent (a weigher in continuous mode, noise) is not waited for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from device_profiles.loading import load_profile
from edge_agent.byte_link import ByteLine
from edge_agent.instrument import TIMEOUT, Instrument
from edge_agent.source_dlt645 import Dlt645Source
from edge_agent.source_modbus import Framing, ModbusLine, ModbusSource
from edge_agent.source_mtsics import MtSicsSource

PATIENCE_S = 20
"""Far beyond what any of these takes; the test fails here where it would wait for ever."""


def mtsics(port):
    instrument = Instrument("w", load_profile("mettler_toledo/mt_sics"))
    return MtSicsSource("w", ByteLine(port=port), instrument, timeout=0.1)


def dlt645(port):
    profile = load_profile("dlt645/three_phase")
    instrument = Instrument("m", profile, "000000000001")
    return Dlt645Source("m", ByteLine(port=port), [instrument], timeout=0.1)


def modbus(port):
    instruments = [Instrument(f"m{n}", load_profile("eastron/sdm630"), str(n)) for n in (1, 2)]
    line = ModbusLine(Framing.RTU_OVER_TCP, port=port)
    return ModbusSource("bus", line, instruments, timeout=0.1)


@pytest.mark.parametrize("make", [mtsics, dlt645, modbus])
def test_a_sweep_of_a_line_that_is_never_silent_ends_and_says_so(make):
    async def talk(reader, writer):
        with suppress(ConnectionError):
            while True:
                writer.write(b"\xa5\x5a")
                await writer.drain()
                await asyncio.sleep(0.002)

    async def run():
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with make(port) as source:
            seen = await asyncio.wait_for(source.sweep(), PATIENCE_S)
        server.close()
        return seen

    seen = asyncio.run(run())
    assert seen
    assert all(reading.v is None for reading in seen)
    assert TIMEOUT in {reading.quality for reading in seen}
