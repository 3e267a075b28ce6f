"""A DL/T 645-2007 line on loopback whose meters are simulated instruments."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edge_agent.dlt645_frame import (
    READ,
    READ_ERROR,
    READ_OK,
    WAKE_UP,
    Frame,
    encode,
    identifier,
    take,
)
from edge_agent.simulator import SimulatedInstrument
from edge_agent.simulator_server import LoopbackServer

READ_ADDRESS = 0x13
"""Control code: master asks for the address (§7.3)."""
NO_SUCH_DATA = b"\x02"
"""Error byte: no data of that identifier (§7.1.4)."""
ANY = "a" * 12


def answer(meters: Sequence[SimulatedInstrument], request: Frame, t: int) -> Frame | None:
    """What the line answers to a request at `t`; None = nobody speaks."""
    meter = next((m for m in meters if request.address in (m.unit, ANY)), None)
    if meter is None or not meter.answers(t):
        return None
    if request.control == READ_ADDRESS:
        return Frame(meter.unit, READ_ADDRESS | 0x80, bytes(reversed(bytes.fromhex(meter.unit))))
    if request.control != READ or len(request.data) < 4:
        return None
    di = identifier(request.data)
    for register in meter.profile.registers:
        if register.addr == di:
            return Frame(meter.unit, READ_OK, request.data[:4] + meter.raw(register, t))
    return Frame(meter.unit, READ_ERROR, NO_SUCH_DATA)


class Dlt645Simulator(LoopbackServer):
    """Serves several meter addresses on one TCP port. `port` 0 takes a free one."""

    def __init__(
        self,
        meters: Sequence[SimulatedInstrument],
        port: int = 0,
        *,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(port)
        self._meters = tuple(meters)
        self._now = now

    def respond(self, buffer: bytearray) -> bytes:
        """Answers to the whole frames in `buffer`."""
        out = b""
        while (request := take(buffer)) is not None:
            spoken = answer(self._meters, request, self._now())
            if spoken is not None:
                out += WAKE_UP + encode(spoken)
        return out
