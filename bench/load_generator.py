"""Publishes ready-made MQTT messages at QoS 1 as fast as a broker takes them, or at a fixed rate.

Several processes over plain sockets, each with a window of unacknowledged messages: packets are
made beforehand and written fifty at a time, and a PUBACK has four bytes, so acknowledgements are
counted by dividing. Run by itself it prints its ceiling against a Mosquitto nobody listens to.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingest import mqtt_wire as wire

CHUNK = 50
"""Messages of one write."""
WINDOW = 2_000
"""Messages a process has unacknowledged at the most."""
IDS = 60_000
"""Packet ids in turn; many more than the window, so that none is used twice at once."""
PROCESSES = multiprocessing.get_context("fork")
"""Messages are handed over by copy-on-write; start the generator before any thread."""

Message = tuple[bytes, bytes]
"""(topic, payload)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a generator did."""

    messages: int
    """Messages the broker acknowledged."""
    seconds: float
    """From the start to the last acknowledgement, of the slowest process."""
    cpu: float
    """CPU seconds of all its processes meanwhile."""


class LoadGenerator:
    """Processes that wait for `go`, one for each list of messages."""

    def __init__(self, port: int, messages: Sequence[Sequence[Message]], rate: float = 0.0) -> None:
        """`rate` is of all processes together, messages a second; 0 = as fast as they are taken."""
        self._gate = PROCESSES.Event()
        self._ends: list[Connection] = []
        self._workers = []
        for number, part in enumerate(messages):
            ours, theirs = PROCESSES.Pipe()
            worker = PROCESSES.Process(
                target=_work,
                args=(port, number, part, rate / len(messages), self._gate, theirs),
                daemon=True,
            )
            worker.start()
            theirs.close()
            self._workers.append(worker)
            self._ends.append(ours)
        for end in self._ends:
            if end.recv() != "ready":
                raise SystemExit("a load generator does not get ready")

    def go(self) -> None:
        """Open the gate."""
        self._gate.set()

    def wait(self, timeout: float = 600.0) -> Sent:
        """Until the broker has acknowledged everything. Raises SystemExit where it does not."""
        found = []
        for end in self._ends:
            if not end.poll(timeout):
                raise SystemExit(f"a load generator is not done after {timeout} s")
            found.append(end.recv())
        for worker in self._workers:
            worker.join()
        return Sent(sum(f[0] for f in found), max(f[1] for f in found), sum(f[2] for f in found))


def _chunks(messages: Sequence[Message]) -> list[bytes]:
    packets = [
        wire.publish(topic, payload, place % IDS + 1)
        for place, (topic, payload) in enumerate(messages)
    ]
    return [b"".join(packets[i : i + CHUNK]) for i in range(0, len(packets), CHUNK)]


def _work(
    port: int,
    number: int,
    messages: Sequence[Message],
    rate: float,
    gate: Event,
    report: Connection,
) -> None:
    chunks = _chunks(messages)
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(wire.connect(f"load-{number}-{time.time_ns()}", keepalive=600, clean=True))
    line.recv(64)
    report.send("ready")
    gate.wait()
    cpu, started = time.process_time(), time.perf_counter()
    if rate:
        _paced(line, chunks, len(messages), rate, started)
    else:
        _fast(line, chunks, len(messages))
    report.send((len(messages), time.perf_counter() - started, time.process_time() - cpu))
    line.sendall(wire.DISCONNECT)
    line.close()


def _fast(line: socket.socket, chunks: Sequence[bytes], total: int) -> None:
    sent, received = 0, 0
    for chunk in chunks:
        while sent - received // 4 > WINDOW - CHUNK:
            received += len(line.recv(1 << 16))
        line.sendall(chunk)
        sent = min(sent + CHUNK, total)
    while received < 4 * total:
        received += len(line.recv(1 << 16))


def _paced(
    line: socket.socket, chunks: Sequence[bytes], total: int, rate: float, started: float
) -> None:
    """Open loop: a message goes out when it is due, whatever became of those before."""
    received = 0
    for place, chunk in enumerate(chunks):
        due = started + place * CHUNK / rate
        while (left := due - time.perf_counter()) > 0:
            if select.select([line], [], [], left)[0]:
                received += len(line.recv(1 << 16))
        line.sendall(chunk)
    while received < 4 * total:
        received += len(line.recv(1 << 16))


def split_over(messages: Sequence[Message], processes: int) -> list[list[Message]]:
    """Messages dealt to so many processes, in order within each."""
    return [list(messages[place::processes]) for place in range(processes)]


def main() -> None:
    """Print the ceiling against a Mosquitto that nobody listens to."""
    from ingest.broker import Mosquitto

    total = 400_000
    payload = b'{"t":1764000000000,"kwh":123456.78}'
    messages = [(b"plant/m%d/energy" % (i % 100), payload) for i in range(total)]
    for processes in (1, 2):
        rates, costs = [], []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as name:
                broker = Mosquitto(Path(name))
                load = LoadGenerator(broker.port, split_over(messages, processes))
                load.go()
                sent = load.wait()
                broker.stop()
            rates.append(sent.messages / sent.seconds)
            costs.append(sent.cpu / sent.messages * 1e6)
        rate, cost = sorted(rates)[1], sorted(costs)[1]
        print(f"{processes} process(es): {rate:,.0f} messages/s, {cost:.2f} µs CPU a message")


if __name__ == "__main__":
    main()
