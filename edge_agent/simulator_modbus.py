"""A Modbus server on loopback whose units are simulated instruments."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.simulator import SimulatedInstrument


class ModbusSimulator:
    """Serves several unit ids on one TCP port, as a gateway would. `port` 0 takes a free one."""

    def __init__(
        self,
        instruments: Sequence[SimulatedInstrument],
        port: int = 0,
        *,
        rtu: bool = False,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._instruments = tuple(instruments)
        self._framer = FramerType.RTU if rtu else FramerType.SOCKET
        self._now = now
        self._mute = False
        self._server: ModbusTcpServer | None = None
        self.host = "127.0.0.1"
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = ModbusTcpServer(
            [self._device(i) for i in self._instruments],
            framer=self._framer,
            address=(self.host, self.port),
            ignore_missing_devices=True,
            trace_packet=self._sent,
        )
        await self._server.serve_forever(background=True)
        self.port = getattr(self._server.transport, "sockets")[0].getsockname()[1]  # noqa: B009
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]

    def _sent(self, sending: bool, data: bytes) -> bytes:
        if sending and self._mute:
            self._mute = False
            return b""
        return data

    def _device(self, instrument: SimulatedInstrument) -> SimDevice:
        registers = instrument.profile.registers
        first = min(r.addr for r in registers)
        last = max(r.addr + r.words for r in registers)
        words = SimData(first, count=last - first, values=0, datatype=DataType.REGISTERS)
        action = functools.partial(self._refresh, instrument)
        return SimDevice(id=int(instrument.unit), simdata=[words], action=action)

    async def _refresh(
        self,
        instrument: SimulatedInstrument,
        function_code: int,
        start_address: int,
        address: int,
        count: int,
        current_registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if set_values is not None:
            return ExcCodes.ILLEGAL_FUNCTION
        t = self._now()
        self._mute = not instrument.answers(t)
        current_registers[:] = [0] * len(current_registers)
        for register in instrument.profile.registers:
            inside = address < register.addr + register.words and register.addr < address + count
            if register.fc == function_code and inside:
                raw = instrument.raw(register, t)
                at = register.addr - start_address
                current_registers[at : at + register.words] = [
                    int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)
                ]
        return None
