"""The all-in-one process: broker, ingest, engine, and a thread that keeps results fresh."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog

from ingest.bridge import Bridge
from ingest.broker import start_broker
from ingest.collector import calm_collector
from ingest.journal import JournalError
from ingest.receiver import Committed, Receiver
from ingest.rotation import DEFAULT_POLICY, Policy, Rotator
from ingest.series import SeriesStore
from ingest.subscriber import Subscriber
from ingest.wants import PATIENCE_S
from meterprint.bridges import PlacedMapping, open_bridge
from meterprint.site import Site
from meterprint.views import open_views
from mrv.envelope import Envelope
from mrv.errors import MeterprintError
from mrv.fact import Fact
from mrv.strict_json import loads

EAGER_EVERY_S = 1.0
"""Batches that have ended and only wait are computed again at most this often, s."""

log = structlog.get_logger("live")


class LiveSite:
    """A site that ingests and computes until it is closed."""

    def __init__(
        self,
        site: Site,
        broker_port: int = 0,
        influx: SeriesStore | None = None,
        patience: float = PATIENCE_S,
        policy: Policy = DEFAULT_POLICY,
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
                agents=site.agents,
            )
        except MeterprintError:
            self.broker.stop()
            raise
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()
        self._merger = threading.Thread(target=self._merge, name="merger", daemon=True)
        self._merger.start()
        self.rotator = Rotator(site.journal, policy)
        self.rotator.start()
        self.bridges: list[Bridge] = []
        try:
            for placed in bridges:
                self.bridges.append(
                    open_bridge(site, placed, self.broker, self._journalled, self._bridge_state)
                )
        except MeterprintError:
            self.close()
            raise
        for bridge in self.bridges:
            bridge.start()

    def _committed(self, items: Sequence[Committed]) -> None:
        for item in items:
            if item.new and item.accepted.draft.envelope is not None:
                self.site.engine.offer(
                    item.index, item.accepted.draft.identity, item.accepted.draft.envelope
                )
                for view in self.views.values():
                    view.projector.offer(item.index, item.accepted.draft.envelope)
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _journalled(self, placed: Sequence[tuple[int, str, Envelope]]) -> None:
        for index, identity, envelope in placed:
            self.site.engine.offer(index, identity, envelope)
            for view in self.views.values():
                view.projector.offer(index, envelope)
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _bridge_state(self, agent: str, online: bool) -> None:
        self.agent_states[agent] = {"online": online, "t": str(time.time_ns())}

    def _state(self, agent: str, payload: bytes) -> None:
        if not self.site.keys_of(agent):
            return  # a stranger's word; and there is no end of strange names
        try:
            state = loads(payload)
        except MeterprintError as error:
            log.warning("state_unreadable", agent=agent, error=str(error))
            return
        if isinstance(state, dict):
            self.agent_states[agent] = state

    def _event(self, agent: str, payload: bytes) -> None:
        try:
            body = loads(payload)
            self.batch_event(body if isinstance(body, dict) else {}, agent)
        except JournalError:
            raise  # the message stays unacknowledged and is taken once the disk does
        except MeterprintError as error:
            log.warning("event_refused", agent=agent, error=str(error))

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event and compute. Raises InputError."""
        answer = self.site.events.take(body, author)
        self._wake.set()
        return answer

    def _work(self) -> None:
        eager_at = time.monotonic()
        while not self._stopping.is_set():
            left = self.site.engine.waiting
            self._wake.wait(EAGER_EVERY_S if left else None)
            self._wake.clear()
            if self._stopping.is_set():
                return
            eager = time.monotonic() - eager_at >= EAGER_EVERY_S
            try:
                self.site.refresh(eager=eager)
            except MeterprintError as error:
                log.exception("engine", error=str(error), hint=error.hint)
            if eager:
                eager_at = time.monotonic()

    def _merge(self) -> None:
        sealed = self.site.engine.sealed
        self.site.engine.warm()
        while not self._stopping.is_set():
            sealed.wait()
            sealed.clear()
            if not self._stopping.is_set():
                self.site.engine.compact()

    def close(self) -> None:
        """Stop everything in order; nothing that was receipted is lost."""
        for bridge in self.bridges:
            bridge.stop()
        self.rotator.stop()
        self.subscriber.stop()
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=30)
        self.site.engine.sealed.set()
        self._merger.join(timeout=60)
        self.broker.stop()
        for view in self.views.values():
            view.close()
