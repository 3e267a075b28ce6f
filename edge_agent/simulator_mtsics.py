"""A weigher on loopback that speaks MT-SICS: SI, S, I2, I4, else `ES` (not understood)."""

from __future__ import annotations

import time
from collections.abc import Callable

from device_profiles.decode import encode
from edge_agent.load_curve import WeighCycle
from edge_agent.simulator import SimulatedInstrument
from edge_agent.simulator_server import LoopbackServer
from mrv.errors import InputError


class MtSicsSimulator(LoopbackServer):
    """One weigher on one TCP port. Its load must be a WeighCycle."""

    def __init__(
        self,
        weigher: SimulatedInstrument,
        port: int = 0,
        *,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(port)
        if not isinstance(weigher.load, WeighCycle):
            raise InputError("a simulated weigher needs a WeighCycle as its load", field="load")
        self._weigher = weigher
        self._cycle = weigher.load
        self._register = weigher.profile.register("weight")
        self._now = now

    def _line(self, command: str) -> str:
        t = self._now()
        if not self._weigher.answers(t):
            return ""
        if command in ("S", "SI"):
            counts, stable = self._cycle.shown(t)
            if command == "S" and not stable:
                return "S I\r\n"
            number = encode(self._register, counts).decode("ascii")
            return f"S {'S' if stable else 'D'} {number:>10} {self._register.unit}\r\n"
        if command == "I4":
            return f'I4 A "{self._weigher.serial}"\r\n'
        if command == "I2":
            return f'I2 A "{self._weigher.profile.model}"\r\n'
        return "ES\r\n"

    def respond(self, buffer: bytearray) -> bytes:
        """Answers to the whole lines in `buffer`."""
        out = ""
        while (end := buffer.find(b"\r\n")) >= 0:
            out += self._line(buffer[:end].decode("latin-1"))
            del buffer[: end + 2]
        return out.encode("ascii")
