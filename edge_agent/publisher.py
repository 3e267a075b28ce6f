"""Publishes the outbox over MQTT; frees it on signed receipts only.

Two lanes, each with a place of its own in the outbox: live messages go out as they are committed,
the backlog beside them, oldest first, as fast as receipts come (`edge_agent.lanes`). A live lane
that has fallen behind starts anew at the newest message and leaves the rest to the backlog.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.lanes import Lanes
from edge_agent.outbox import TABLE_STREAM, Outbox, OutboxDamaged, OutboxError, Outgoing
from mrv.errors import MeterprintError
from mrv.receipt import Receipt, parse_receipt
from mrv.strict_json import dumps, loads
from mrv.verification.note import PublicKey, open_note

TICK_S = 0.5
"""Longest pause of the worker: then it looks for what to send again."""
LAG_S = 1.5
"""A live message that waited longer is left to the backlog."""
AT_ONCE = 16
"""Messages read from the outbox at a time; they may have 64 kB each."""
WANTED_AT_ONCE = 50
"""Messages asked for by `want` that the broker has not acknowledged yet."""
WANTED_RANGES = 1000
"""Ranges of `want` that wait; more are asked for again."""
STATE_S = 5.0
"""The retained state is published anew when it changed, at most this often."""
KEEPALIVE_S = 15
"""After one and a half of these without a sign a connection is taken for dead."""

log = structlog.get_logger("edge")


class Publisher:
    """The MQTT side of one agent: paho's thread moves bytes, a worker decides what to send."""

    def __init__(
        self,
        outbox: Outbox,
        site: str,
        agent: str,
        receipts: PublicKey,
        port: int,
        host: str = "127.0.0.1",
        username: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._outbox = outbox
        self._now = now
        self._prefix = f"meterprint/1/{site}/{agent}"
        self._agent = agent
        self._receipts = receipts
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._anew = threading.Event()
        self._notes: deque[bytes] = deque()
        self._wanted: deque[tuple[str, str, int, int]] = deque(maxlen=WANTED_RANGES)
        self._wanted_on_way: set[int] = set()
        self._lanes = Lanes(time.monotonic)
        self._acked: deque[int] = deque()
        self._held: dict[int, int] = {}
        self._live = 0
        self._backlog = 0
        self._marks: deque[tuple[float, int]] = deque()
        self._facts: dict[str, object] = {}
        self._said: dict[str, object] = {}
        self._said_at = 0.0
        self._rescues = 0
        self.refused_receipts = 0
        self.sent_again = 0
        self.connected = threading.Event()
        self.drained = threading.Event()
        self._drained_turn = threading.Lock()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{site}-{agent}", clean_session=True
        )
        if username:
            self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.max_inflight_messages_set(2000)
        self._client.reconnect_delay_set(1, 10)
        self._client.will_set(f"{self._prefix}/state", dumps({"online": False}), 1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_connect_fail = self._unreachable
        self._client.on_message = self._arrived
        self._client.on_publish = self._acknowledged
        self._client.connect_async(host, port, keepalive=KEEPALIVE_S)
        self._client.loop_start()
        self._worker = threading.Thread(target=self._work, name=f"publish-{agent}", daemon=True)
        self._worker.start()

    def _connected(
        self, client: mqtt.Client, _: object, __: object, reason: ReasonCode, *___: Any
    ) -> None:
        if reason.is_failure:
            log.warning("broker_refuses", agent=self._agent, reason=str(reason))
            return
        client.subscribe([(f"{self._prefix}/receipt/+", 1), (f"{self._prefix}/want/+", 1)])
        self._anew.set()
        self.connected.set()
        self._wake.set()

    def _disconnected(
        self, _: mqtt.Client, __: object, ___: object, reason: ReasonCode, *____: Any
    ) -> None:
        self.connected.clear()
        if not self._stopping.is_set():
            log.warning("broker_gone", reason=str(reason), hint="readings are kept meanwhile")

    def _unreachable(self, client: mqtt.Client, *_: Any) -> None:
        hint = "readings are kept meanwhile"
        log.warning("broker_unreachable", host=client.host, port=client.port, hint=hint)

    def _acknowledged(self, _: mqtt.Client, __: object, mid: int, *___: Any) -> None:
        self._acked.append(mid)

    def _arrived(self, _: mqtt.Client, ___: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            log.warning("topic_unreadable", agent=self._agent, error=str(error))
            return
        kind, __, name = topic.removeprefix(f"{self._prefix}/").partition("/")
        if kind == "receipt":
            self._notes.append(bytes(message.payload))
            self._wake.set()
        elif kind == "want":
            try:
                self._want(name, bytes(message.payload))
            except MeterprintError as error:
                self._refuse(topic, error)

    def _refuse(self, what: str, error: MeterprintError) -> None:
        self.refused_receipts += 1
        log.warning("refused", what=what, error=str(error))

    def _want(self, stream: str, body: bytes) -> None:
        wanted = loads(body)
        if not isinstance(wanted, list):
            raise MeterprintError("a list of [epoch, from, to] is expected")
        for row in wanted:
            match row:
                case [str(epoch), int(first), int(last)]:
                    self._wanted.append((stream, epoch, first, last))
                case _:
                    raise MeterprintError(f"[epoch, from, to] is expected, seen {row!r:.80}")
        self._wake.set()

    def committed(self) -> None:
        """Say that the outbox has something new."""
        with self._drained_turn:
            self.drained.clear()
        self._wake.set()

    def tell(self, **facts: object) -> None:
        """Facts for the retained state, such as `storage="full"`; None takes one back."""
        self._facts = {k: v for k, v in {**self._facts, **facts}.items() if v is not None}
        self._said_at = 0.0
        self._wake.set()

    def _state(self, *, online: bool) -> dict[str, object]:
        """What is said: `oldest` is when the oldest envelope without a receipt was cut, ns UTC."""
        state: dict[str, object] = {"online": online, "depth": self._outbox.depth()}
        if state["depth"]:
            try:
                for oldest in self._outbox.pending(limit=1):
                    state["oldest"] = str(oldest.cut)
            except OutboxError as error:
                state["fault"] = str(error)
        return {**state, **self._facts}

    def publish_state(self, *, online: bool) -> None:
        """Publish the retained state: whether it is online, how deep the outbox is, what was told.

        Never raises for a disk: the network thread would end with it.
        """
        state = self._state(online=online)
        self._said, self._said_at = state, time.monotonic()
        body = dumps({**state, "t": str(self._now())})
        self._client.publish(f"{self._prefix}/state", body, qos=1, retain=True)

    def publish_events(self, body: bytes) -> None:
        """Publish a batch event as JSON."""
        self._client.publish(f"{self._prefix}/batch-events", body, qos=1)

    def _publish(self, message: Outgoing) -> int:
        """Hand a message to paho, which holds it until the broker has it; its number there."""
        table = message.stream == TABLE_STREAM
        topic = "birth" if table else f"readings/{message.stream}"
        sent = self._client.publish(f"{self._prefix}/{topic}", message.note, qos=1, retain=table)
        return sent.mid

    def _send(self, message: Outgoing, *, live: bool) -> None:
        self._held[self._publish(message)] = message.id
        self._lanes.sent(message.id, len(message.note), live=live)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(timeout=TICK_S)
            self._wake.clear()
            try:
                self._take_receipts()
                if self._rescues != self._outbox.rescues:  # rows may be other messages now
                    self._rescues = self._outbox.rescues
                    self._lanes.forget(self._lanes.rows())
                    self._held.clear()
                    self._wanted_on_way.clear()
                    self._facts["outbox_damaged"] = self._rescues
                    self._anew.set()
                if self._anew.is_set():
                    self._anew.clear()
                    self._begin()
                while self.connected.is_set() and not self._stopping.is_set() and self._round():
                    self._take_receipts()
                self._facts.pop("fault", None)
                self._tell_depth()
            except OutboxDamaged:
                self._rescue()
            except OutboxError as error:
                self._refused(error)

    def _refused(self, error: OutboxError) -> None:
        log.warning("outbox_refused", error=str(error), hint=error.hint)
        self._facts["fault"] = str(error)

    def _rescue(self) -> None:
        """Go on with what can be read of a damaged outbox."""
        try:
            self._outbox.rescue()
        except OutboxError as error:
            self._refused(error)
            self._stopping.wait(TICK_S)

    def _tell_depth(self) -> None:
        with self._drained_turn:  # a commit is counted before it is said
            if not self._outbox.depth():
                self.drained.set()
        if not self.connected.is_set() or time.monotonic() - self._said_at < STATE_S:
            return
        if self._said != self._state(online=True):
            self.publish_state(online=True)

    def _begin(self) -> None:
        """A connection is new.

        What the broker has not acknowledged paho sends again by itself; the rest it may have
        lost, so all that waits is backlog.
        """
        self._take_acks()
        self._lanes.forget(set(self._lanes.rows()) - set(self._held.values()))
        self._backlog = 0
        self._live = self._outbox.newest()
        self._marks.clear()
        self.publish_state(online=True)
        for table in self._outbox.tables():
            if table.id not in self._lanes:
                self._send(table, live=True)

    def _take_acks(self) -> None:
        while self._acked:
            mid = self._acked.popleft()
            self._held.pop(mid, None)
            self._wanted_on_way.discard(mid)

    def _take_receipts(self) -> None:
        receipts: list[Receipt] = []
        while self._notes:
            try:
                receipt = parse_receipt(open_note(self._notes.popleft(), [self._receipts]).text)
                if receipt.agent != self._agent:
                    raise MeterprintError(f"a receipt for {receipt.agent}")
                receipts.append(receipt)
            except MeterprintError as error:
                self._refuse("receipt", error)
        if receipts:
            self._lanes.freed(self._outbox.free(receipts, time.time_ns()))

    def _round(self) -> int:
        """One look at each lane; how many messages were sent."""
        self._take_acks()
        return self._send_live() + self._send_again() + self._send_wanted() + self._send_backlog()

    def _send_live(self) -> int:
        newest = self._outbox.newest()
        if newest < self._live:
            self._live = self._backlog = 0  # everything was pruned and numbers begin again
        now = time.monotonic()
        if newest > (self._marks[-1][1] if self._marks else self._live):
            self._marks.append((now, newest))
        while self._marks and (self._marks[0][1] <= self._live or now - self._marks[0][0] > LAG_S):
            self._live = max(self._live, self._marks.popleft()[1])
        if newest == self._live or not self._lanes.live_room():
            return 0
        sent = 0
        for message in self._outbox.pending(self._live, AT_ONCE):
            if not self._lanes.live_room():
                break
            if message.id not in self._lanes:
                self._send(message, live=True)
                sent += 1
            self._live = message.id
        return sent

    def _send_backlog(self) -> int:
        if not self._lanes.backlog_room():
            return 0
        sent = 0
        for message in self._outbox.pending(self._backlog, AT_ONCE, self._live):
            if not self._lanes.backlog_room():
                break
            if message.id not in self._lanes:
                self._send(message, live=False)
            self._backlog = message.id
            sent += 1
        return sent

    def _send_again(self) -> int:
        sent = 0
        held = set(self._held.values())
        for row in self._lanes.again():
            if row in held:
                continue  # paho sends it again by itself
            for message in self._outbox.pending(row - 1, 1, row):
                self._held[self._publish(message)] = row
                sent += 1
        self.sent_again += sent
        return sent

    def _send_wanted(self) -> int:
        """Envelopes the site asks for though it has given a receipt; others are on their way."""
        room = WANTED_AT_ONCE - len(self._wanted_on_way)
        if not self._wanted or room <= 0:
            return 0
        stream, epoch, first, last = self._wanted.popleft()
        found = self._outbox.receipted(stream, epoch, first, last, min(room, AT_ONCE))
        self._wanted_on_way |= {self._publish(message) for message in found}
        if found and found[-1].seq < last:
            self._wanted.appendleft((stream, epoch, found[-1].seq + 1, last))
        return len(found) or 1

    def check(self) -> None:
        """Raises MeterprintError where the worker has ended though nobody stopped it."""
        if not self._worker.is_alive() and not self._stopping.is_set():
            raise MeterprintError(
                "the publisher has ended", hint="its last words are in the log; restart the agent"
            )

    def stop(self) -> None:
        """Disconnect; the outbox keeps what has no receipt."""
        self._stopping.set()
        self._wake.set()
        self._worker.join(timeout=10)
        if self.connected.is_set():
            self.publish_state(online=False)
        self._client.disconnect()
        self._client.loop_stop()
