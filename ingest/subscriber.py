"""The MQTT side of ingest: messages in, receipts out.

A message is acknowledged only after it is on disk (or in quarantine). Each agent is read through a
session of its own into a bounded lane of its own (`ingest.lanes`); a worker takes one message of
each lane in turn, at most `GROUP` of them, and commits once. Where an agent's lane is full its
session is not read, so back-pressure reaches the broker through TCP, for this agent alone.
Envelopes come in bulk (`ingest.agent_session`); what strangers say, and receipts, go through paho.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from typing import NamedTuple, TypeVar

import structlog

from ingest.agent_session import AgentSession
from ingest.company import Company
from ingest.inbox import Delivered, Inbox, acknowledge
from ingest.journal import JournalError
from ingest.mqtt_feed import BrokerAddress
from ingest.receiver import Committed, Looked, Message, Receiver
from ingest.session import Session
from ingest.wants import PATIENCE_S, Wants
from mrv.errors import MeterprintError
from mrv.strict_json import dumps

GROUP = 250
"""Most messages of one commit; so many more may be on their way to the next."""
AHEAD = 20
"""Messages that are worth verifying while the group before them is committed."""
RETRY_S = 1.0
"""Pause after the disk refused a commit; the messages stay unacknowledged."""
RECEIPT_S = 2.0
"""How long a stop waits until the last receipt of a session is on its way, s."""
IDLE_S = 1.0
"""Without a message for this long the worker looks after holes in chains and new agents."""
START_S = 5.0
"""How long a start waits for the agents' sessions to listen; they go on trying."""
MAX_SESSIONS = 32
"""Agents with a session of their own; further ones share these, by a hash of their name."""
NO_LEVEL = frozenset("/+#\0")
"""Characters that no level of a topic has (MQTT 3.1.1, 4.7)."""
KINDS = ("readings/+", "birth", "state", "batch-events")
"""Topics of an agent that ingest listens to."""

log = structlog.get_logger("ingest")

EventHandler = Callable[[str, bytes], None]
"""Told of an agent's batch event; raises JournalError where the disk refuses it."""
Taken = TypeVar("Taken")


class _Group(NamedTuple):
    """Messages that are committed together."""

    delivered: list[Delivered]
    """All of them."""
    looked: Looked
    """Those for the journal."""


class Subscriber:
    """Feeds a Receiver from a broker and answers with receipts.

    `agents` names the enrolled agents; it is asked again from time to time, and a new one gets its
    session. Of others only birth, state and batch events are listened to; of enrolled ones these
    come twice, which changes nothing, and so none is missed while a session is made. Without
    `agents` one session listens to everybody, and agents are served in turn once they are read.
    `refused` counts commits the disk did not take, `refusal` is what it says while it refuses.

    Raises MeterprintError where no broker answers, unless it is told to wait for one.
    """

    def __init__(
        self,
        receiver: Receiver,
        site: str,
        port: int,
        host: str = "127.0.0.1",
        username: str = "",
        password: str = "",
        on_committed: Callable[[Sequence[Committed]], None] | None = None,
        on_event: EventHandler | None = None,
        on_state: Callable[[str, bytes], None] | None = None,
        patience: float = PATIENCE_S,
        agents: Callable[[], Sequence[str]] | None = None,
        tls: ssl.SSLContext | None = None,
        wait_for_broker: bool = False,
    ) -> None:
        self._receiver = receiver
        self._site = site
        self._address = BrokerAddress(port, host, username, password, tls=tls)
        self.refusal = ""
        self._on_committed = on_committed
        self._on_event = on_event
        self._agents = agents
        self._inbox = Inbox(on_state)
        self._verifier = ThreadPoolExecutor(1, "verifier")
        self._stopping = threading.Event()
        self.refused = 0
        self._met: set[str] = set()
        self._own: list[AgentSession] = []
        login = (username, password)
        self._door = Session(f"{site}-ingest", host, port, login, self._inbox.arrived, tls)
        self.connected = self._door.subscribed
        every = [f"{self._prefix('+')}/{kind}" for kind in KINDS]
        listened = every if agents is None else every[1:]
        try:
            self._door.start(
                listened, [t for t in every if t not in listened], now=not wait_for_broker
            )
        except OSError as error:
            raise MeterprintError(
                f"no MQTT broker answers on {host}:{port}: {error}",
                hint="start one, or let `meterprint serve` start its own",
            ) from error
        self._wants = Wants(receiver.runs, patience)
        self._meet()
        until = time.monotonic() + (0.0 if wait_for_broker else START_S)
        for session in self._own:
            session.subscribed.wait(max(0.0, until - time.monotonic()))
        self._worker = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._worker.start()

    def _prefix(self, agent: str) -> str:
        return f"meterprint/1/{self._site}/{agent}"

    def _meet(self) -> None:
        """Give each enrolled agent that has none a session."""
        for agent in self._agents() if self._agents is not None else ():
            if agent in self._met:
                continue
            self._met.add(agent)
            if set(agent) & NO_LEVEL:
                log.error("agent_cannot_be_heard", agent=agent, hint="no topic has / + # in a name")
                continue
            topics = [f"{self._prefix(agent)}/{kind}" for kind in KINDS]
            if len(self._own) < MAX_SESSIONS:
                name = f"{self._site}-ingest-{agent}"
                session = AgentSession(name, self._address, self._inbox.read)
                self._own.append(session)
                session.start(topics)
            else:
                place = int.from_bytes(sha256(agent.encode()).digest()[:4]) % MAX_SESSIONS
                self._own[place].add(topics)

    def _work(self) -> None:
        company = Company()
        group = self._gather(company.wait)
        while group is not None:
            company.taken(time.monotonic())
            ahead = self._gather_ahead()
            if group.delivered and not self._take(group):
                return
            company.done(time.monotonic())
            if self._until_taken(self._asked) is None:
                return
            self._meet()
            group = ahead or self._gather(company.wait)

    def _gather(self, share: float) -> _Group | None:
        """The next group, waiting for it; None once closed."""
        delivered = self._inbox.lanes.take(GROUP, IDLE_S, share)
        return None if delivered is None else self._looked(delivered)

    def _gather_ahead(self) -> _Group | None:
        """The group after this one, where it is here; its signatures are verified meanwhile."""
        if len(self._inbox.lanes) < AHEAD:
            return None
        delivered = self._inbox.lanes.take(GROUP, 0.0, 0.0)
        return self._looked(delivered, self._verifier) if delivered else None

    def _looked(self, delivered: list[Delivered], beside: Executor | None = None) -> _Group:
        kept = [d.message for d in delivered if d.message.kind != "batch-events"]
        return _Group(delivered, self._receiver.look(kept, beside))

    def _take(self, group: _Group) -> bool:
        """Commit a group, answer it and acknowledge it; False where that was given up to stop."""
        looked = group.looked
        committed = (
            self._until_taken(lambda: self._receiver.take(looked.messages, looked))
            if looked.messages
            else []
        )
        if committed is None:
            return False
        if committed and self._on_committed is not None:
            self._on_committed(committed)
        if self._until_taken(lambda: self._answered(committed)) is None:
            return False
        done = 0
        for delivered in group.delivered:
            message = delivered.message
            if message.kind == "batch-events" and message.payload and self._on_event is not None:
                told = partial(_told, self._on_event, message)
                if self._until_taken(told) is None:
                    break
            done += 1
        acknowledge(group.delivered[:done])
        return done == len(group.delivered)

    def _answered(self, committed: Sequence[Committed]) -> bool:
        """Receipt what was committed. Raises JournalError where the disk cannot be read."""
        new = (item.accepted.draft.envelope for item in committed if item.new)
        self._wants.saw((envelope for envelope in new if envelope is not None), time.monotonic())
        for agent, stream, note in self._receiver.receipts(committed):
            self._publish(agent, f"receipt/{stream or '-'}", note)
        return True

    def _publish(self, agent: str, name: str, payload: bytes) -> None:
        self._door.publish(f"{self._prefix(agent)}/{name}", payload)

    def _asked(self) -> bool:
        """Ask agents for envelopes that must exist and have not come. Raises JournalError."""
        for agent, stream, rows in self._wants.due(time.monotonic()):
            self._publish(agent, f"want/{stream}", dumps(rows))
            log.info("wanted", agent=agent, stream=stream, ranges=rows)
        return True

    def _until_taken(self, take: Callable[[], Taken]) -> Taken | None:
        """What `take` returns, once the disk does not refuse it; None where told to stop.

        Whether it refuses to be written or to be read: the messages stay unacknowledged.
        """
        while True:
            try:
                taken = take()
            except JournalError as error:
                self.refused += 1
                self.refusal = str(error)
                log.exception("journal_refused", error=str(error), hint=error.hint)
                if self._stopping.wait(RETRY_S):
                    return None
                continue
            self.refusal = ""
            return taken

    @property
    def ended(self) -> bool:
        """Whether its worker has ended though nobody stopped it."""
        return not (self._worker.is_alive() or self._stopping.is_set())

    def ready(self) -> bool:
        """Whether every session listens."""
        return all(s.is_set() for s in (self.connected, *(own.subscribed for own in self._own)))

    @property
    def holes(self) -> int:
        """Chains with envelopes that must exist and have not come."""
        return self._wants.open

    @property
    def waiting(self) -> dict[str, int]:
        """Messages read and not committed yet, by agent."""
        return self._inbox.lanes.waiting()

    def stop(self) -> None:
        """Commit and receipt what was taken, then disconnect; the rest comes again next time."""
        self._stopping.set()
        self._inbox.lanes.close()
        self._worker.join(timeout=30)
        self._verifier.shutdown(wait=False)
        self._door.flush(RECEIPT_S)
        for session in self._own:
            session.leave()
        self._door.stop()
        for session in self._own:
            session.join()


def _told(handler: EventHandler, message: Message) -> bool:
    handler(message.agent, message.payload)
    return True
