"""The all-in-one process: broker, ingest, engine, and a thread that keeps results fresh."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import structlog

from ingest.bridge import Bridge
from ingest.broker import start_broker
from ingest.collector import calm_collector
from ingest.receiver import Committed, Receiver
from ingest.series import SeriesStore
from ingest.subscriber import Subscriber
from ingest.wants import PATIENCE_S
from meterprint.bridges import PlacedMapping, open_bridge
from meterprint.site import Site
from meterprint.views import open_views
from mrv.envelope import Envelope
from mrv.errors import MeterprintError
from mrv.fact import Fact

log = structlog.get_logger("live")


class LiveSite:
    """A site that ingests and computes until it is closed."""

    def __init__(
        self,
        site: Site,
        broker_port: int = 0,
        influx: SeriesStore | None = None,
        patience: float = PATIENCE_S,
        bridges: Sequence[PlacedMapping] = (),
    ) -> None:
        calm_collector()
        self.site = site
        self.views = open_views(site, influx)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self.agent_states: dict[str, dict[str, Any]] = {}
        self.broker = start_broker(site.state / "broker", broker_port)
        self.receiver = Receiver(site.journal, site.quarantine, site.keyring.receipts, site.keys_of)
        try:
            self.subscriber = Subscriber(
                self.receiver,
                site.name,
                self.broker.port,
                username=self.broker.username,
                password=self.broker.password,
                on_committed=self._committed,
                on_event=self._event,
                on_state=self._state,
                patience=patience,
            )
        except MeterprintError:
            self.broker.stop()
            raise
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()
        self.bridges: list[Bridge] = []
        try:
            for placed in bridges:
                self.bridges.append(open_bridge(site, placed, self.broker, self._journalled))
        except MeterprintError:
            self.close()
            raise
        for bridge in self.bridges:
            bridge.start()

    def _committed(self, items: Sequence[Committed]) -> None:
        for item in items:
            if item.new and item.accepted.draft.envelope is not None:
                self.site.engine.offer(item.index, item.accepted.draft.envelope)
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _journalled(self, placed: Sequence[tuple[int, Envelope]]) -> None:
        for index, envelope in placed:
            self.site.engine.offer(index, envelope)
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _state(self, agent: str, payload: bytes) -> None:
        try:
            state = json.loads(payload)
        except ValueError:
            log.warning("state_unreadable", agent=agent)
            return
        if isinstance(state, dict):
            self.agent_states[agent] = state

    def _event(self, agent: str, payload: bytes) -> None:
        try:
            body = json.loads(payload)
            self.batch_event(body if isinstance(body, dict) else {}, agent)
        except (ValueError, MeterprintError) as error:
            log.warning("event_refused", agent=agent, error=str(error))

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event and compute. Raises InputError."""
        answer = self.site.events.take(body, author)
        self._wake.set()
        return answer

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                self.site.refresh()
            except MeterprintError as error:
                log.exception("engine", error=str(error), hint=error.hint)

    def close(self) -> None:
        """Stop everything in order; nothing that was receipted is lost."""
        for bridge in self.bridges:
            bridge.stop()
        self.subscriber.stop()
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=30)
        self.broker.stop()
        for view in self.views.values():
            view.close()
