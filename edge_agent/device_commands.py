"""What `meterprint device list|show|check|read|simulate` does; the command line prints it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from device_profiles.loading import load_file, load_profile, profile_ids
from device_profiles.profile import Profile, Protocol
from edge_agent.byte_link import ByteLine
from edge_agent.golden import decode_golden
from edge_agent.instrument import Instrument
from edge_agent.load_curve import LoadCurve, WeighCycle
from edge_agent.simulator import SimulatedInstrument
from edge_agent.simulator_dlt645 import Dlt645Simulator
from edge_agent.simulator_modbus import ModbusSimulator
from edge_agent.simulator_mtsics import MtSicsSimulator
from edge_agent.source import RawReading, Source
from edge_agent.source_dlt645 import Dlt645Source
from edge_agent.source_modbus import Framing, ModbusLine, ModbusSource
from edge_agent.source_mtsics import MtSicsSource
from mrv.errors import InputError, MeterprintError


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """One line of `device list`."""

    id: str
    """`maker/model`."""
    title_zh: str
    """What it is, in Chinese."""
    title_en: str
    """What it is, in English."""
    protocol: str
    """modbus, dlt645 or mtsics."""
    registers: int
    """Number of registers."""
    hash: str
    """Content hash, hex."""


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One golden frame, decoded."""

    note: str
    """Where the frame comes from."""
    origin: str
    """vendor_sample, published_sample or constructed."""
    expected: tuple[tuple[str, int | None], ...]
    """What the profile says it holds, (register, counts)."""
    actual: tuple[tuple[str, int | None], ...]
    """What it decodes to."""
    error: str
    """Why it could not be decoded, "" = it could."""

    @property
    def ok(self) -> bool:
        """Whether both agree."""
        return not self.error and self.expected == self.actual


@dataclass(frozen=True, slots=True)
class ProfileCheck:
    """What `device check` found."""

    id: str
    """Profile."""
    hash: str
    """Content hash, hex."""
    golden: tuple[GoldenCheck, ...]
    """Its golden frames."""
    caveats: tuple[str, ...]
    """What its author could not confirm."""

    @property
    def ok(self) -> bool:
        """Whether every golden frame decodes as it says."""
        return all(g.ok for g in self.golden)


@dataclass(frozen=True, slots=True)
class ShownValue:
    """One register as `device read` shows it."""

    register: str
    """Register id."""
    counts: int | None
    """Counts of the resolution, None = no value."""
    value: Fraction | None
    """The value in `unit`, exact."""
    unit: str
    """Unit."""
    quality: str
    """"" good, else why there is no value."""
    raw: str
    """Bytes as they came, hex."""


def list_profiles() -> tuple[ProfileSummary, ...]:
    """All shipped profiles by id."""
    profiles = [load_profile(profile_id) for profile_id in profile_ids()]
    return tuple(
        ProfileSummary(p.id, p.title_zh, p.title_en, p.protocol.value, len(p.registers), p.hash)
        for p in profiles
    )


def open_profile(name: str) -> Profile:
    """A shipped profile by id, or a file by its path. Raises InputError."""
    return load_file(Path(name)) if name.endswith((".yaml", ".yml")) else load_profile(name)


def check_profile(name: str) -> ProfileCheck:
    """Decodes every golden frame of a profile."""
    profile = open_profile(name)
    checks = []
    for golden in profile.golden:
        actual: tuple[tuple[str, int | None], ...] = ()
        error = ""
        try:
            actual = decode_golden(profile, golden)
        except (MeterprintError, ValueError) as fault:
            error = str(fault)
        checks.append(GoldenCheck(golden.note, golden.origin, golden.expect, actual, error))
    return ProfileCheck(profile.id, profile.hash, tuple(checks), profile.caveats)


def open_source(
    url: str, instruments: Sequence[Instrument], *, name: str = "", keep_raw: bool = False
) -> Source:
    """The source for a line; all its instruments must speak one protocol.

    `url` is `tcp://host:port`, `rtu-over-tcp://host:port` or
    `serial:///dev/ttyS0?baud=9600&parity=N`. Raises InputError for anything else.
    """
    parts = urlsplit(url)
    protocols = {i.profile.protocol for i in instruments}
    if len(protocols) != 1 or parts.scheme not in ("tcp", "rtu-over-tcp", "serial"):
        raise InputError(
            f"cannot read {len(instruments)} instruments at {url!r}",
            field="url",
            hint="tcp://host:port, rtu-over-tcp://host:port or serial:///dev/ttyS0?baud=9600; "
            "one protocol a line",
        )
    (protocol,) = protocols
    options = parse_qs(parts.query)
    try:
        baud = int(options.get("baud", ["2400" if protocol is Protocol.DLT645 else "9600"])[0])
        port = parts.port or 0
    except ValueError as error:
        raise InputError(f"not a number in {url!r}", field="url") from error
    parity = options.get("parity", ["E" if protocol is Protocol.DLT645 else "N"])[0]
    host = parts.hostname or "127.0.0.1"
    serial = parts.path if parts.scheme == "serial" else ""
    name = name or url
    if protocol is Protocol.MODBUS:
        framing = Framing.RTU if serial else Framing(parts.scheme)
        line = ModbusLine(framing, host, port or 502, serial, baud, parity)
        return ModbusSource(name, line, instruments, keep_raw=keep_raw)
    bytes_line = ByteLine(host, port, serial, baud, parity)
    if protocol is Protocol.DLT645:
        return Dlt645Source(name, bytes_line, instruments, keep_raw=keep_raw)
    if len(instruments) != 1:
        raise InputError("one weigher a line", field="url")
    return MtSicsSource(name, bytes_line, instruments[0])


async def _read(source: Source) -> tuple[RawReading, ...]:
    async with source:
        return await source.sweep()


def read_device(
    name: str, url: str, unit: str = "1", registers: Sequence[str] = ()
) -> tuple[ShownValue, ...]:
    """Reads a device once. A weigher shows its load only when one is put on it."""
    instrument = Instrument("device", open_profile(name), unit, tuple(registers))
    readings = asyncio.run(_read(open_source(url, [instrument], keep_raw=True)))
    shown = []
    for reading in readings:
        register = instrument.profile.register(reading.channel.partition(".")[2])
        value = None if reading.v is None else reading.v * register.resolution
        shown.append(
            ShownValue(
                register.name, reading.v, value, register.unit, reading.quality, reading.raw.hex()
            )
        )
    return tuple(shown)


Simulator = ModbusSimulator | Dlt645Simulator | MtSicsSimulator


def simulated(
    instruments: Sequence[SimulatedInstrument],
    port: int = 0,
    *,
    now: Callable[[], int] = time.time_ns,
) -> AbstractAsyncContextManager[Simulator]:
    """A server on 127.0.0.1 for instruments of one protocol; its `port` is set once entered."""
    protocols = {i.profile.protocol for i in instruments}
    if len(protocols) != 1:
        raise InputError("a simulated line speaks one protocol", field="instruments")
    (protocol,) = protocols
    if protocol is Protocol.MODBUS:
        return ModbusSimulator(instruments, port, now=now)
    if protocol is Protocol.DLT645:
        return Dlt645Simulator(instruments, port, now=now)
    if len(instruments) != 1:
        raise InputError("one weigher a line", field="instruments")
    return MtSicsSimulator(instruments[0], port, now=now)


def default_instrument(
    name: str, unit: str = "1", seed: int = 1, origin: int = 0
) -> SimulatedInstrument:
    """A simulated device with a plausible load: 40–60 kW, 40–60 m³/h, loads of 250 kg."""
    profile = open_profile(name)
    load: LoadCurve | WeighCycle = LoadCurve(seed, 40_000, 20_000, origin)
    if profile.protocol is Protocol.MTSICS:
        load = WeighCycle(seed, 25_000, 300, origin)
    if profile.protocol is Protocol.DLT645:
        unit = unit.zfill(12)
    return SimulatedInstrument(profile, load, unit)


async def serve_simulation(
    instruments: Sequence[SimulatedInstrument],
    port: int,
    ready: Callable[[str, int], None],
    stop: asyncio.Event,
) -> None:
    """Serves until `stop`; calls `ready(host, port)` once the port is open."""
    async with simulated(instruments, port) as simulator:
        ready(simulator.host, simulator.port)
        await stop.wait()
