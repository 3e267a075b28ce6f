"""`meterprint demo`: a plant floor, two agents, ingest, engine and pages in one process."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.agent import Agent
from edge_agent.outbox import Outbox
from edge_agent.publisher import Publisher
from edge_agent.source import RawReading, poll
from footprint.batch import BatchState
from ingest.keyring import load_or_make_key
from meterprint.demo.plant_floor import STREAMS, Floor, open_floor
from meterprint.live import LiveSite
from meterprint.pages import PageServer
from meterprint.plant_file import load_plant
from meterprint.site import Site, open_site
from mrv.channel import ChannelTable
from mrv.envelope import Clock, ClockState, Event
from mrv.finding import count_by_rule
from mrv.interval import NS_PER_S, Interval

PLANT = Path(__file__).parent / "plant.yaml"
"""The demo's plant file."""
SWEEP_S = 0.5
"""Time between two sweeps of a bus."""
FLUSH_S = 0.5
"""Time between two cuts of envelopes."""
BATCH_S = 10.0
"""Length of a batch."""
PAUSE_S = 1.5
"""Pause between two batches."""
PRODUCTS = {"line-1": ("housing", "bracket"), "line-2": ("cover", "housing")}
"""What the lines make in turn."""
CLOCK_STEP_S = 20
"""When the second gateway's clock steps back by an hour, s after the start."""
HOUR_NS = 3600 * 10**9


class Demo:
    """One run of the demo."""

    def __init__(self, state: Path, speed: int, seed: int, started: float) -> None:
        self.started = started
        self.speed = speed
        self.seed = seed
        self.plant_file = load_plant(PLANT)
        self.site: Site = open_site(state, self.plant_file.plant.site)
        self.begun = time.time_ns()
        self.origin = self._first_start()
        self.site.state_plant(self.plant_file, self.origin)
        self.live = LiveSite(self.site)
        self.running: dict[str, str] = {}
        self.first_reading: float | None = None
        self.first_final: float | None = None
        self._outboxes: list[Outbox] = []
        self._agents: list[Agent] = []
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def _first_start(self) -> int:
        """Moment of the first start on this state: the instruments count on from there."""
        marker = self.site.state / "demo-origin"
        if not marker.exists():
            marker.write_text(f"{self.begun}\n")
        return int(marker.read_text())

    def _office_clock(self) -> int:
        step = HOUR_NS if time.time_ns() - self.begun > CLOCK_STEP_S * 10**9 else 0
        return time.time_ns() - step

    def _agent(self, name: str, channels: Any, now: Callable[[], int]) -> Agent:
        folder = self.site.state / "agents" / name
        key = load_or_make_key(folder / "agent.key", name)
        self.site.enrol_agent(key.public)
        outbox = Outbox(folder / "outbox.db")
        self._outboxes.append(outbox)
        table = ChannelTable(self.site.name, name, tuple(sorted(channels, key=lambda c: c.name)))
        streams = {c.name: STREAMS[c.instrument] for c in table.channels}
        clock = Clock(ClockState.SYNCHRONISED, 50, "demo")
        agent = Agent(table, streams, key, outbox, lambda: clock, now)
        agent.publisher = Publisher(
            outbox,
            self.site.name,
            name,
            self.site.keyring.receipts.public,
            self.live.broker.port,
            username=self.live.broker.username,
            password=self.live.broker.password,
            now=now,
        )
        self._agents.append(agent)
        return agent

    async def run(self, seconds: float | None, ready: Callable[[], None]) -> None:
        """Run until `seconds` are over or `stop` is called."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._stop.set)
        async with AsyncExitStack() as stack:
            floor = await open_floor(
                stack,
                self.plant_file.plant,
                self.seed,
                self.speed,
                self.origin,
                lambda line: self.running.get(line, ""),
                self._office_clock,
                Interval(self.begun + 15 * NS_PER_S, self.begun + 22 * NS_PER_S),
            )
            main = self._agent("gateway", floor.channels, time.time_ns)
            office = self._agent("gateway-2", floor.office_channels, self._office_clock)
            tasks = self._tasks(floor, main, office)
            ready()
            try:
                await asyncio.wait_for(self._stop.wait(), seconds)
            except TimeoutError:
                self._stop.set()
            await asyncio.gather(*tasks)
            for agent in self._agents:
                await asyncio.to_thread(agent.flush)

    def _tasks(self, floor: Floor, main: Agent, office: Agent) -> list[asyncio.Task[None]]:
        def into(agent: Agent) -> Callable[[tuple[RawReading, ...]], None]:
            def sink(readings: tuple[RawReading, ...]) -> None:
                agent.add(readings)

            return sink

        tasks = [
            asyncio.create_task(poll(source, into(main), SWEEP_S, self._stop))
            for source in floor.sources
        ]
        tasks.append(asyncio.create_task(poll(floor.office, into(office), SWEEP_S, self._stop)))
        tasks += [
            asyncio.create_task(self._flush()),
            asyncio.create_task(self._tamper()),
            asyncio.create_task(self._watch()),
        ]
        tasks += [asyncio.create_task(self._produce(line)) for line in PRODUCTS]
        return tasks

    async def _pause(self, seconds: float) -> bool:
        """Wait; True where the demo is over."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _flush(self) -> None:
        while not await self._pause(FLUSH_S):
            for agent in self._agents:
                await asyncio.to_thread(agent.flush)

    async def _watch(self) -> None:
        while not await self._pause(0.2):
            now = time.monotonic() - self.started
            results = list(self.site.engine.results.values())
            if self.first_reading is None and self.site.engine.reading_count:
                self.first_reading = now
            final = (BatchState.FINAL, BatchState.FINAL_ESTIMATED)
            if self.first_final is None and any(r.state in final for r in results):
                self.first_final = now

    async def _produce(self, line: str) -> None:
        known = [b for b in self.site.engine.engine.batches() if b.line == line]
        number = len(known)
        for left in known:
            if left.end is None:
                await self._event(line, left.id, left.product, "end", good="1", scrap="0")
        if await self._pause(2.0):
            return
        over = False
        while not over:
            number += 1
            product = PRODUCTS[line][number % 2]
            batch = f"{line[-1]}-{number:04d}"
            await self._event(line, batch, product, "start")
            self.running[line] = batch
            over = await self._pause(BATCH_S)
            self.running.pop(line, None)
            if over:
                await self._event(line, batch, product, "end", good="20", scrap="1")
            else:
                good = 60 + (self.seed + number * 7) % 20
                await self._event(line, batch, product, "end", good=str(good), scrap="2")
                over = await self._pause(PAUSE_S)

    async def _event(self, line: str, batch: str, product: str, kind: str, **more: str) -> None:
        body: dict[str, Any] = {
            "id": f"{batch}/{kind}/{time.time_ns()}",
            "line": line,
            "batch": batch,
            "event": kind,
            "t": str(time.time_ns()),
            **more,
        }
        if kind == "start":
            body["product"] = product
        await asyncio.to_thread(self.live.batch_event, body, "demo")

    async def _tamper(self) -> None:
        """Send a copy of a real envelope with one digit changed: it must end in quarantine."""
        if await self._pause(8.0):
            return
        outbox = self._outboxes[0]
        sent = outbox.range("line-1", self._epoch(outbox), 0, 5)
        if not sent:
            return
        forged = bytearray(sent[-1].note)
        place = forged.index(b'"v":[') + 5
        forged[place] = ord("1") if forged[place] != ord("1") else ord("2")
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="forger")
        if self.live.broker.username:
            client.username_pw_set(self.live.broker.username, self.live.broker.password)
        client.connect("127.0.0.1", self.live.broker.port)
        client.loop_start()
        topic = f"meterprint/1/{self.site.name}/gateway/readings/line-1"
        info = client.publish(topic, bytes(forged), qos=1)
        await asyncio.to_thread(info.wait_for_publish, 10)
        client.disconnect()
        client.loop_stop()

    def _epoch(self, outbox: Outbox) -> str:
        head = outbox.head("line-1")
        return head.epoch if head else ""

    def stop(self) -> None:
        """End the run from another thread or a signal."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def close(self) -> None:
        """Close agents, ingest and files, in this order."""
        for agent in self._agents:
            for stream in set(STREAMS.values()):
                agent.event_if_known(stream, Event("stop", time.time_ns(), reason="demo"))
            agent.flush()
            if agent.publisher is not None:
                agent.publisher.drained.wait(timeout=5)
                agent.publisher.stop()
        for outbox in self._outboxes:
            outbox.close()
        self.live.close()
        self.site.refresh()

    def summary(self) -> dict[str, Any]:
        """What the run did, in the words of `demo --json`."""
        states = {state.value: 0 for state in BatchState}
        for result in self.site.engine.results.values():
            states[result.state.value] += 1
        findings = dict(count_by_rule(self.site.engine.findings()))
        for reason, count in self.site.quarantine.counts().items():
            findings[f"quarantined_{reason}"] = count
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "seconds_to_first_reading": _rounded(self.first_reading),
            "seconds_to_first_final_batch": _rounded(self.first_final),
            "readings": self.site.engine.reading_count,
            "batches": states,
            "findings": dict(sorted(findings.items())),
            "max_rss_mb": round(usage / 1024, 1),
            "broker": self.live.broker.label,
            "store": "embedded",
            "residuals": {b.subject: b.to_json()["residual"] for b in self.site.engine.books()},
            "journal": {
                "entries": self.site.journal.size,
                "root": self.site.journal.root().hex(),
            },
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def run_demo(
    state: Path,
    *,
    seconds: float | None,
    speed: int,
    seed: int,
    port: int,
    started: float,
    ready: Callable[[Demo, str], None],
) -> dict[str, Any]:
    """Run the demo until it is over or interrupted; its summary."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a silent meter is a finding here
    demo = Demo(state, speed, seed, started)
    try:
        pages = PageServer(demo.live, port)
        try:
            asyncio.run(demo.run(seconds, lambda: ready(demo, pages.url)))
        finally:
            pages.stop()
            demo.close()
        return demo.summary()
    finally:
        demo.site.close()
