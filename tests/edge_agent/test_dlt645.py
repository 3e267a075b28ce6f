from __future__ import annotations

import asyncio
import os
import tty

import pytest
from dlt645 import MeterServerService
from dlt645.protocol.protocol import DLT645Protocol
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.loading import load_profile
from edge_agent.byte_link import ByteLine
from edge_agent.dlt645_frame import Frame, decode, encode, read_request, take
from edge_agent.instrument import Instrument
from edge_agent.load_curve import LoadCurve
from edge_agent.simulator import Faults, SimulatedInstrument
from edge_agent.simulator_dlt645 import Dlt645Simulator
from edge_agent.source_dlt645 import Dlt645Source
from mrv.errors import WireError
from mrv.interval import NS_PER_S, Interval

T0 = 1_700_000_000 * NS_PER_S
HOUR = 3600 * NS_PER_S
METER = load_profile("dlt645/three_phase")
SAMPLE = bytes.fromhex("68610100000000689108333334335933333 38A16".replace(" ", ""))

frames = st.builds(
    Frame,
    st.from_regex(r"[0-9]{12}", fullmatch=True),
    st.integers(0, 255),
    st.binary(max_size=200),
)


@given(frames)
def test_our_frames_are_those_of_the_independent_package(frame):
    address = bytes(reversed(bytes.fromhex(frame.address)))
    theirs = DLT645Protocol.build_frame(address, frame.control, frame.data, preamble_count=0)
    assert encode(frame) == bytes(theirs)
    assert decode(encode(frame)) == frame


@given(
    st.lists(frames, max_size=4), st.binary(max_size=5).filter(lambda b: 0x68 not in b), st.data()
)
def test_frames_come_out_of_a_stream_however_it_is_cut(sent, noise, data):
    stream = b"".join(noise + encode(f) for f in sent)
    buffer, seen = bytearray(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        buffer += stream[:cut]
        stream = stream[cut:]
        while (frame := take(buffer)) is not None:
            seen.append(frame)
    assert seen == sent


@pytest.mark.parametrize("at", range(len(SAMPLE)))
def test_a_frame_with_one_wrong_byte_is_refused(at):
    broken = bytearray(SAMPLE)
    broken[at] ^= 0x01
    with pytest.raises(WireError):
        decode(bytes(broken))


def test_a_false_start_before_a_frame_is_skipped():
    buffer = bytearray(b"\x68\x01\x02") + bytearray(SAMPLE)
    assert take(buffer) == decode(SAMPLE)


def test_the_request_is_the_published_one():
    wire = bytes.fromhex("6861010000000068110433333433 1416".replace(" ", ""))
    assert encode(read_request("000000000161", 0x00010000)) == wire


def test_the_source_reads_the_independent_packages_meter():
    service = MeterServerService.new_tcp_server("127.0.0.1", 0, 5)
    service.set_address(bytes(reversed(bytes.fromhex("000000000123"))))
    service.set_00(0x00010000, 1234.56)
    service.set_02(0x02010100, 230.1)
    service.set_02(0x02030000, 12.3456)
    assert service.start()
    port = port_of(service)

    async def run():
        names = ("energy_import", "voltage_l1", "power")
        meter = Instrument("m", METER, "000000000123", names)
        async with Dlt645Source("bus", ByteLine(port=port), [meter]) as source:
            return [(r.channel, r.v) for r in await source.sweep()]

    try:
        assert asyncio.run(run()) == [
            ("m.energy_import", 123456),
            ("m.voltage_l1", 2301),
            ("m.power", 123456),
        ]
    finally:
        service.stop()


def port_of(service) -> int:
    server = service.server
    for name in ("server_socket", "listener", "_listener", "ln", "sock", "socket"):
        listener = getattr(server, name, None)
        if listener is not None:
            return listener.getsockname()[1]
    raise AssertionError(sorted(vars(server)))


def test_two_simulated_meters_on_one_line_and_one_that_is_silent():
    async def run():
        at = T0 + HOUR
        gap = Faults(silent=(Interval(T0, at + 1),))
        load = LoadCurve(3, 50_000, 10_000, T0)
        start = {"energy_import": 99_999_990}
        meters = [
            SimulatedInstrument(METER, load, "000000000001", start=start, ratio=20),
            SimulatedInstrument(METER, load, "000000000002", faults=gap),
        ]
        async with Dlt645Simulator(meters, now=lambda: at) as simulator:
            line = ByteLine(port=simulator.port)
            both = [Instrument(f"m{m.unit[-1]}", METER, m.unit) for m in reversed(meters)]
            async with Dlt645Source("b", line, both, timeout=0.1, now=lambda: at) as source:
                seen = {r.channel: r for r in await source.sweep()}
        for register in METER.registers:
            reading = seen[f"m1.{register.name}"]
            assert reading.v == meters[0].counts(register, at)
            assert seen[f"m2.{register.name}"].quality == "timeout"
        assert seen["m1.energy_import"].v < 1000

    asyncio.run(run())


def test_an_identifier_the_meter_does_not_have_is_refused_not_missing():
    async def run():
        bare = METER.register("energy_import")
        lean = type(METER)(
            **{n: getattr(METER, n) for n in METER.__slots__} | {"registers": (bare,)}
        )
        meters = [SimulatedInstrument(lean, LoadCurve(1, 0, 0, T0), "000000000001")]
        async with Dlt645Simulator(meters) as simulator:
            meter = Instrument("m", METER, "000000000001", ("power", "energy_import"))
            async with Dlt645Source("b", ByteLine(port=simulator.port), [meter]) as source:
                return [(r.v, r.quality) for r in await source.sweep()]

    assert asyncio.run(run()) == [(None, "refused"), (0, "")]


def test_a_serial_port_carries_the_same_frames():
    async def run():
        master, slave = os.openpty()
        tty.setraw(master)
        meters = [
            SimulatedInstrument(
                METER, LoadCurve(1, 0, 0, T0), "000000000001", start={"energy_import": 26}
            )
        ]
        simulator = Dlt645Simulator(meters)
        buffer = bytearray()

        def serve() -> None:
            buffer.extend(os.read(master, 256))
            os.write(master, simulator.respond(buffer))

        loop = asyncio.get_running_loop()
        loop.add_reader(master, serve)
        meter = Instrument("m", METER, "000000000001", ("energy_import",))
        line = ByteLine(device=os.ttyname(slave), parity="N")
        try:
            async with Dlt645Source("b", line, [meter]) as source:
                return [r.v for r in await source.sweep()]
        finally:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)

    assert asyncio.run(run()) == [26]


def test_a_line_that_is_not_there_is_a_reading_without_a_link():
    async def run():
        async with Dlt645Simulator([]) as simulator:
            port = simulator.port
        meter = Instrument("m", METER, "000000000001", ("energy_import",))
        async with Dlt645Source("b", ByteLine(port=port), [meter]) as source:
            return [r.quality for r in await source.sweep()]

    assert asyncio.run(run()) == ["no_link"]
