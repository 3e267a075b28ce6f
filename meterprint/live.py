"""The all-in-one process: broker, ingest, engine, and a thread that keeps results fresh."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog

from dashboards.agent_health import AgentState, read_state
from dashboards.running import Trouble
from ingest.broker import start_broker
from ingest.broker_port import Broker
from ingest.collector import calm_collector
from ingest.journal import JournalError
from ingest.receiver import Committed, Receiver
from ingest.series import SeriesStore
from ingest.subscriber import RETRY_S, Subscriber
from ingest.wants import PATIENCE_S
from meterprint.site import Site
from meterprint.views import open_views
from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact

WATCH_S = 1.0
"""How often the broker is looked after, s."""
BEHIND = 500
"""Journal entries the engine may lag without being called behind: a commit's worth."""

log = structlog.get_logger("live")


class LiveSite:
    """A site that ingests and computes until it is closed.

    `broker` is one that runs already; without it one of our own is started, and started again
    where it ends by itself. Raises MeterprintError where it cannot be.
    """

    def __init__(
        self,
        site: Site,
        broker_port: int = 0,
        influx: SeriesStore | None = None,
        patience: float = PATIENCE_S,
        broker: Broker | None = None,
    ) -> None:
        calm_collector()
        self.site = site
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._first_pass: tuple[int, int] | None = (0, 0)
        self.agent_states: dict[str, AgentState] = {}
        self.arrivals: dict[str, int] = {}
        self.broker = broker or start_broker(site.state / "broker", broker_port)
        self.views = open_views(site, influx)
        self.receiver = Receiver(site.journal, site.quarantine, site.keyring.receipts, site.keys_of)
        try:
            self.subscriber = Subscriber(
                self.receiver,
                site.name,
                self.broker.port,
                self.broker.host,
                username=self.broker.username,
                password=self.broker.password,
                on_committed=self._committed,
                on_event=self._event,
                on_state=self._state,
                patience=patience,
                tls=self.broker.tls,
                wait_for_broker=broker is not None,
            )
        except MeterprintError:
            self.broker.stop()
            for view in self.views.values():
                view.close()
            raise
        self._wake.set()
        self._threads = [
            threading.Thread(target=self._work, name="engine", daemon=True),
            threading.Thread(target=self._watch, name="broker-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _committed(self, items: Sequence[Committed]) -> None:
        now = time.time_ns()
        for item in items:
            envelope = item.accepted.draft.envelope
            if item.new and envelope is not None:
                self.site.engine.offer(item.index, envelope)
                if envelope.readings:
                    self.arrivals[envelope.agent] = now
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _state(self, agent: str, payload: bytes) -> None:
        try:
            self.agent_states[agent] = read_state(payload, time.time_ns())
        except InputError as error:
            log.warning("state_unreadable", agent=agent, error=str(error))

    def _event(self, agent: str, payload: bytes) -> None:
        """Take a batch event; a refused one goes to quarantine, a refusing disk is waited for."""
        try:
            body = json.loads(payload)
        except ValueError:
            body = None
        while not self._stopping.is_set():
            try:
                if not isinstance(body, dict):
                    raise InputError("a batch event is a JSON object")
                self.batch_event(body, agent)
            except JournalError as error:
                log.warning("journal_refused", error=str(error), hint=error.hint)
                self._stopping.wait(RETRY_S)
                continue
            except MeterprintError as error:
                log.warning("event_refused", agent=agent, error=str(error))
                topic = f"meterprint/1/{self.site.name}/{agent}/batch-events"
                self.site.quarantine.add(
                    time.time_ns(), agent, topic, "event_refused", str(error), payload
                )
            return

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event and compute. Raises InputError."""
        answer = self.site.events.take(body, author)
        self._wake.set()
        return answer

    def troubles(self) -> list[Trouble]:
        """What keeps the site from being up to date now, the gravest first."""
        found = []
        if self.subscriber.refusal:
            found.append(Trouble("journal_refuses", self.subscriber.refusal))
        if not self.subscriber.connected.is_set():
            found.append(Trouble("no_broker", f"{self.broker.host}:{self.broker.port}"))
        if self.site.plant() is None:
            found.append(Trouble("no_plant"))
        if self._first_pass is not None:
            done, total = self._first_pass
            found.append(Trouble("starting", f"{done} / {total}"))
        elif self.site.engine.lag > BEHIND:
            found.append(Trouble("catching_up", str(self.site.engine.lag)))
        return found

    def _passed(self, done: int, total: int) -> None:
        if self._first_pass is not None:
            self._first_pass = done, total

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self.site.refresh(self._passed)
                self._first_pass = None
            except MeterprintError as error:
                log.exception("engine", error=str(error), hint=error.hint)

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_S):
            try:
                if self.broker.revive():
                    log.warning("broker_restarted", port=self.broker.port)
            except MeterprintError as error:
                log.warning("broker_down", error=str(error), hint=error.hint)

    def close(self) -> None:
        """Stop everything in order; nothing that was receipted is lost."""
        self._stopping.set()
        self._wake.set()
        self.subscriber.stop()
        for thread in self._threads:
            thread.join(timeout=30)
        self.broker.stop()
        for view in self.views.values():
            view.close()
