"""The all-in-one process: broker, ingest, engine, and a thread that keeps results fresh."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog

from dashboards.agent_health import AgentState, read_state
from dashboards.running import ENDED, Trouble
from ingest.bridge import Bridge
from ingest.broker import start_broker
from ingest.broker_port import Broker, OthersBroker
from ingest.collector import calm_collector
from ingest.journal import JournalError
from ingest.quarantine import Refused
from ingest.receiver import Committed, Receiver
from ingest.rotation import DEFAULT_POLICY, Policy, Rotator
from ingest.series import SeriesStore
from ingest.subscriber import Subscriber
from ingest.wants import PATIENCE_S
from meterprint.bridges import PlacedMapping, open_bridge
from meterprint.site import Site
from meterprint.views import open_views
from mrv.envelope import Envelope
from mrv.errors import InputError, MeterprintError
from mrv.fact import Fact
from mrv.strict_json import loads

WATCH_S = 1.0
"""How often the broker is looked after, and what commands state beside this process, s."""
BEHIND = 500
"""Journal entries the engine may lag without being called behind: a commit's worth."""
EAGER_EVERY_S = 1.0
"""Batches that have ended and only wait are computed again at most this often, s."""

log = structlog.get_logger("live")


class LiveSite:
    """A site that ingests and computes until it is closed.

    `broker` is one that is running; without it one of our own is started. One that is ours is
    started again where it ends by itself. Raises MeterprintError where it cannot be.
    """

    def __init__(
        self,
        site: Site,
        broker_port: int = 0,
        influx: SeriesStore | None = None,
        patience: float = PATIENCE_S,
        policy: Policy = DEFAULT_POLICY,
        bridges: Sequence[PlacedMapping] = (),
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
        self.receiver = Receiver(
            site.journal,
            site.quarantine,
            site.keyring.receipts,
            site.keys_of,
            site.revoked_keys_of,
            site.enrolled,
        )
        try:
            self.subscriber = Subscriber(
                self.receiver,
                site.name,
                self.broker.ingest_port,
                self.broker.host,
                username=self.broker.username,
                password=self.broker.password,
                on_committed=self._committed,
                on_event=self._event,
                on_state=self._state,
                patience=patience,
                agents=site.agents,
                tls=self.broker.tls,
                wait_for_broker=isinstance(self.broker, OthersBroker),
            )
        except MeterprintError:
            self.broker.stop()
            for view in self.views.values():
                view.close()
            raise
        self._wake.set()
        self._watcher = threading.Thread(target=self._watch, name="broker-watch", daemon=True)
        self._watcher.start()
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
        now = time.time_ns()
        for item in items:
            draft = item.accepted.draft
            envelope = draft.envelope
            if item.new and envelope is not None:
                if envelope.readings:
                    self.arrivals[envelope.agent] = now
                self.site.engine.offer(item.index, draft.identity, envelope)
                for view in self.views.values():
                    view.projector.offer(item.index, envelope)
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _journalled(self, placed: Sequence[tuple[int, str, Envelope]]) -> None:
        now = time.time_ns()
        for index, identity, envelope in placed:
            if envelope.readings:
                self.arrivals[envelope.agent] = now
            self.site.engine.offer(index, identity, envelope)
            for view in self.views.values():
                view.projector.offer(index, envelope)
        self._wake.set()
        for view in self.views.values():
            view.projector.wake()

    def _bridge_state(self, agent: str, online: bool) -> None:
        self.agent_states[agent] = AgentState(online, time.time_ns())

    def _state(self, agent: str, payload: bytes) -> None:
        if not self.site.keys_of(agent):
            return  # a stranger's word; and there is no end of strange names
        try:
            self.agent_states[agent] = read_state(payload, time.time_ns())
        except InputError as error:
            log.warning("state_unreadable", agent=agent, error=str(error))

    def _event(self, agent: str, payload: bytes) -> None:
        self.site.enrolled.learn(self.site.journal)  # the agent may be new, or revoked just now
        if not self.site.keys_of(agent):
            revoked = self.site.revoked_keys_of(agent)
            reason = "revoked_key" if revoked else "unknown_agent"
            self._refuse_event(agent, payload, reason, "a batch event of an agent without a key")
            return
        try:
            body = loads(payload)
            self.batch_event(body if isinstance(body, dict) else {}, agent)
        except JournalError:
            raise  # the message stays unacknowledged and is taken once the disk does
        except MeterprintError as error:
            self._refuse_event(agent, payload, "event_refused", str(error))

    def _refuse_event(self, agent: str, payload: bytes, reason: str, detail: str) -> None:
        log.warning("event_refused", agent=agent, reason=reason, error=detail)
        topic = f"meterprint/1/{self.site.name}/{agent}/batch-events"
        refused = Refused(time.time_ns(), agent, topic, reason, detail, payload)
        try:
            self.site.quarantine.add([refused])
        except MeterprintError as full:
            log.warning("event_not_kept", agent=agent, error=str(full), event=payload[:500])

    def batch_event(self, body: dict[str, Any], author: str) -> tuple[Fact, bool]:
        """Take a batch event and compute. Raises InputError."""
        answer = self.site.events.take(body, author)
        self._wake.set()
        return answer

    def troubles(self) -> list[Trouble]:
        """What keeps the site from being up to date now, the gravest first."""
        found = [Trouble(ENDED, part) for part in self._ended()]
        refusals = [self.subscriber.refusal, *(bridge.refusal for bridge in self.bridges)]
        refusal = next(filter(None, refusals), "")
        if refusal:
            found.append(Trouble("journal_refuses", refusal))
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

    def _ended(self) -> list[str]:
        """Parts that have ended though nobody stopped them: a fault of the program."""
        if self._stopping.is_set():
            return []
        threads = (self._thread, self._merger, self._watcher)
        found = [thread.name for thread in threads if not thread.is_alive()]
        found += ["ingest"] if self.subscriber.ended else []
        found += [bridge.mapping.agent for bridge in self.bridges if bridge.ended]
        return found + [name for name, view in self.views.items() if view.projector.ended]

    def _passed(self, done: int, total: int) -> None:
        if self._first_pass is not None:
            self._first_pass = done, total

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_S):
            try:
                if self.broker.revive():
                    log.warning("broker_restarted", port=self.broker.port)
            except MeterprintError as error:
                log.warning("broker_down", error=str(error), hint=error.hint)
            try:
                self.site.journal.follow()
            except MeterprintError as error:
                log.warning("journal_unreadable", error=str(error), hint=error.hint)
            if self.site.engine.lag:
                self._wake.set()  # a command beside this process has stated something

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
                self.site.refresh(self._passed, eager=eager)
                self._first_pass = None
            except MeterprintError as error:
                log.exception("engine", error=str(error), hint=error.hint)
            if eager:
                eager_at = time.monotonic()

    def _merge(self) -> None:
        sealed = self.site.engine.sealed
        self.site.engine.warm()
        self.receiver.signatures.warm()
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
        self._watcher.join(timeout=30)
        self.site.engine.sealed.set()
        self._merger.join(timeout=60)
        self.broker.stop()
        for view in self.views.values():
            view.close()
