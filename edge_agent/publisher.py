"""Publishes the outbox over MQTT; frees it on signed receipts only.

Live envelopes go out as they are committed; a second lane sends what has no receipt again, oldest
first, when the connection comes back and while receipts make no progress.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Sequence

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.outbox import TABLE_STREAM, Outbox, OutboxError, Outgoing
from mrv.errors import MeterprintError
from mrv.receipt import parse_receipt
from mrv.strict_json import dumps, loads
from mrv.verification.note import PublicKey, open_note

WINDOW = 200
"""Messages in flight at the most."""
RESEND_S = 1.0
"""Without a new receipt for this long, what is pending goes out again."""
STATE_S = 5.0
"""Time between two words on the state of the outbox."""

log = structlog.get_logger("edge")


class Publisher:
    """The MQTT side of one agent."""

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
        on_release: Callable[[int], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._outbox = outbox
        self._prefix = f"meterprint/1/{site}/{agent}"
        self._agent = agent
        self._receipts = receipts
        self._on_release = on_release
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._progress = time.monotonic()
        self._told = 0.0
        self._cursor = 0
        self._lock = threading.Lock()
        self.refused_receipts = 0
        self.connected = threading.Event()
        self.drained = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{site}-{agent}", clean_session=True
        )
        if username:
            self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.max_inflight_messages_set(WINDOW)
        self._client.reconnect_delay_set(1, 10)
        self._client.will_set(f"{self._prefix}/state", dumps({"online": False}), 1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_connect_fail = self._unreachable
        self._client.on_message = self._arrived
        self._client.connect_async(host, port, keepalive=30)
        self._client.loop_start()
        self._lane = threading.Thread(target=self._work, name=f"publish-{agent}", daemon=True)
        self._lane.start()

    def _connected(
        self, client: mqtt.Client, _: object, __: object, reason: ReasonCode, ___: object
    ) -> None:
        if reason.is_failure:
            log.warning("broker_refused", reason=str(reason), hint="is the agent let in there?")
            return
        client.subscribe([(f"{self._prefix}/receipt/+", 1), (f"{self._prefix}/want/+", 1)])
        self.publish_state(online=True)
        with self._lock:
            self._cursor = 0
        self.connected.set()
        self._wake.set()

    def _disconnected(
        self, _: mqtt.Client, __: object, ___: object, reason: ReasonCode, ____: object
    ) -> None:
        self.connected.clear()
        if not self._stopping.is_set():
            log.warning("broker_gone", reason=str(reason), hint="readings are kept meanwhile")

    def _unreachable(self, *_: object) -> None:
        log.warning(
            "broker_unreachable",
            host=self._client.host,
            port=self._client.port,
            hint="readings are kept meanwhile",
        )

    def publish_state(self, *, online: bool) -> None:
        """Publish the retained state: whether it is online, and how deep the outbox is if it says.

        `oldest` is when the oldest envelope without a receipt was cut, ns UTC. Never raises for a
        disk: the network thread would end with it.
        """
        self._told = time.monotonic()
        state: dict[str, object] = {"online": online, "t": str(time.time_ns())}
        try:
            state["depth"] = self._outbox.depth()
            for oldest in self._outbox.pending(limit=1):
                state["oldest"] = str(oldest.cut)
        except OutboxError as error:
            state["fault"] = str(error)
        self._client.publish(f"{self._prefix}/state", dumps(state), qos=1, retain=True)

    def _tell(self) -> None:
        """Say again how deep the outbox is, where that is due."""
        if time.monotonic() - self._told > STATE_S:
            self.publish_state(online=True)

    def publish_events(self, body: bytes) -> None:
        """Publish a batch event as JSON."""
        self._client.publish(f"{self._prefix}/batch-events", body, qos=1)

    def committed(self) -> None:
        """Say that the outbox has something new."""
        self.drained.clear()
        self._wake.set()

    def _send(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            if message.stream == TABLE_STREAM:
                self._client.publish(f"{self._prefix}/birth", message.note, qos=1, retain=True)
            else:
                topic = f"{self._prefix}/readings/{message.stream}"
                self._client.publish(topic, message.note, qos=1)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(timeout=RESEND_S)
            self._wake.clear()
            if not self.connected.is_set():
                continue
            self._tell()
            if time.monotonic() - self._progress > RESEND_S:
                with self._lock:
                    self._cursor = 0
                self._progress = time.monotonic()
            try:
                self._pump()
            except OutboxError as error:
                log.warning("outbox_refused", error=str(error), hint=error.hint)

    def _pump(self) -> None:
        while self.connected.is_set() and not self._stopping.is_set():
            with self._lock:
                cursor = self._cursor
            messages = self._outbox.pending(cursor, WINDOW)
            if not messages:
                if not self._outbox.depth():
                    self.drained.set()
                return
            self._send(messages)
            self._tell()
            with self._lock:
                if self._cursor == cursor:
                    self._cursor = messages[-1].id
            if self._outbox.depth() > 4 * WINDOW:
                self._wake.wait(timeout=RESEND_S)
                self._wake.clear()

    def _arrived(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        kind = message.topic.removeprefix(self._prefix).split("/")[1]
        try:
            if kind == "receipt":
                self._release(bytes(message.payload))
            elif kind == "want":
                self._resend(message.topic.rsplit("/", 1)[1], bytes(message.payload))
        except MeterprintError as error:
            self.refused_receipts += 1
            log.warning("refused", topic=message.topic, error=str(error))

    def _release(self, note: bytes) -> None:
        receipt = parse_receipt(open_note(note, [self._receipts]).text)
        if receipt.agent != self._agent:
            raise MeterprintError(f"a receipt for {receipt.agent}")
        freed = self._outbox.release(receipt, time.time_ns())
        self._progress = time.monotonic()
        if freed:
            self._wake.set()
        if not self._outbox.depth():
            self.drained.set()
        if self._on_release is not None:
            self._on_release(freed)

    def _resend(self, stream: str, body: bytes) -> None:
        wanted = loads(body)
        if not isinstance(wanted, list):
            raise MeterprintError("a list of [epoch, from, to] is expected")
        for row in wanted:
            match row:
                case [str(epoch), int(first), int(last)]:
                    self._send(self._outbox.range(stream, epoch, first, last))
                case _:
                    raise MeterprintError(f"[epoch, from, to] is expected, seen {row!r:.80}")

    def stop(self) -> None:
        """Disconnect; the outbox keeps what has no receipt."""
        self._stopping.set()
        self._wake.set()
        self._lane.join(timeout=10)  # before the last word, which nothing may follow
        if self.connected.is_set():
            self.publish_state(online=False)
        self._client.disconnect()
        self._client.loop_stop()
