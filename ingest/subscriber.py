"""The MQTT side of ingest: paho with manual acknowledgement.

A message is acknowledged only after it is on disk (or in quarantine). paho's network thread puts
messages into a bounded queue and blocks when it is full, so back-pressure reaches the broker
through TCP; a worker takes whatever has arrived, at most `GROUP` messages, and commits once.
"""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from ingest.journal import JournalError
from ingest.receiver import Committed, Message, Receiver
from ingest.wants import PATIENCE_S, Wants
from mrv.errors import MeterprintError
from mrv.strict_json import dumps

QUEUE_MESSAGES = 4000
"""Messages that may wait for the worker."""
GROUP = 500
"""Most messages of one commit."""
SHARE_FSYNC_S = 0.02
"""How long a lone message may wait for company (design §3)."""
RETRY_S = 1.0
"""Pause after the disk refused a commit; the messages stay unacknowledged."""
RECEIPT_S = 2.0
"""How long a stop waits until the last receipt is on its way, s."""

log = structlog.get_logger("ingest")

Delivered = tuple[Message, int, int]
"""A message with its MQTT id and QoS."""


class Subscriber:
    """Feeds a Receiver from a broker and answers with receipts.

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
        on_event: Callable[[str, bytes], None] | None = None,
        on_state: Callable[[str, bytes], None] | None = None,
        patience: float = PATIENCE_S,
        tls: ssl.SSLContext | None = None,
        wait_for_broker: bool = False,
    ) -> None:
        self._receiver = receiver
        self._site = site
        self._on_committed = on_committed
        self._on_event = on_event
        self._on_state = on_state
        self._queue: queue.Queue[Delivered | None] = queue.Queue(QUEUE_MESSAGES)
        self._stopping = threading.Event()
        self.connected = threading.Event()
        self.refusal = ""
        self._receipt: mqtt.MQTTMessageInfo | None = None
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{site}-ingest",
            clean_session=False,
            manual_ack=True,
        )
        if username:
            self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._arrived
        self._worker = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._worker.start()
        try:
            if wait_for_broker:
                self._client.connect_async(host, port, keepalive=30)
            else:
                self._client.connect(host, port, keepalive=30)
        except OSError as error:
            self._stopping.set()
            self._queue.put(None)
            raise MeterprintError(
                f"no MQTT broker answers on {host}:{port}: {error}",
                hint="start one, or let `meterprint serve` start its own",
            ) from error
        self._wants = Wants(receiver.runs, patience)
        self._client.loop_start()

    def _connected(
        self, client: mqtt.Client, _: object, __: object, reason: ReasonCode, ___: object
    ) -> None:
        if reason.is_failure:
            log.warning("broker_refused", reason=str(reason))
            return
        prefix = f"meterprint/1/{self._site}/+"
        names = ("readings/+", "birth", "state", "batch-events")
        client.subscribe([(f"{prefix}/{name}", 1) for name in names])
        self.connected.set()

    def _disconnected(self, *_: Any) -> None:
        self.connected.clear()

    def _arrived(self, client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        parts = message.topic.split("/")
        agent, kind = parts[3], parts[4]
        if kind in ("state", "batch-events"):
            handler = self._on_state if kind == "state" else self._on_event
            if handler is not None and message.payload:
                handler(agent, bytes(message.payload))
            client.ack(message.mid, message.qos)
            return
        item = Message(agent, kind, message.topic, bytes(message.payload))
        while not self._stopping.is_set():
            try:
                self._queue.put((item, message.mid, message.qos), timeout=0.5)
            except queue.Full:
                continue
            return

    def _next_group(self) -> list[Delivered] | None:
        first = self._queue.get()
        if first is None:
            return None
        group = [first]
        wait = SHARE_FSYNC_S
        while len(group) < GROUP:
            try:
                item = (
                    self._queue.get(timeout=wait) if len(group) == 1 else self._queue.get_nowait()
                )
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            group.append(item)
        return group

    def _work(self) -> None:
        while (group := self._next_group()) is not None:
            messages = [message for message, _, _ in group]
            committed = self._commit(messages)
            if committed is None:
                return
            if self._on_committed is not None:
                self._on_committed(committed)
            for agent, stream, note in self._receiver.receipts(committed):
                topic = f"meterprint/1/{self._site}/{agent}/receipt/{stream or '-'}"
                self._receipt = self._client.publish(topic, note, qos=1)
            for _, mid, qos in group:
                self._client.ack(mid, qos)
            self._ask(committed)

    def _ask(self, committed: Sequence[Committed]) -> None:
        """Ask agents for envelopes that must exist and have not come."""
        now = time.monotonic()
        for item in committed:
            if item.new and item.accepted.draft.envelope is not None:
                self._wants.saw(item.accepted.draft.envelope, now)
        for agent, stream, rows in self._wants.due(now):
            topic = f"meterprint/1/{self._site}/{agent}/want/{stream}"
            self._client.publish(topic, dumps(rows), qos=1)
            log.info("wanted", agent=agent, stream=stream, ranges=rows)

    def _commit(self, messages: Sequence[Message]) -> list[Committed] | None:
        while True:
            try:
                taken = self._receiver.take(messages)
            except JournalError as error:
                self.refusal = str(error)
                log.exception("journal_refused", error=str(error), hint=error.hint)
                if self._stopping.wait(RETRY_S):
                    return None
                continue
            self.refusal = ""
            return taken

    @property
    def waiting(self) -> int:
        """Messages that wait for the worker."""
        return self._queue.qsize()

    @property
    def holes(self) -> int:
        """Chains with envelopes that must exist and have not come."""
        return self._wants.open

    def stop(self) -> None:
        """Commit and receipt what was taken, then disconnect; the rest comes again next time."""
        self._stopping.set()
        while self._worker.is_alive():
            try:
                self._queue.put(None, timeout=0.5)
                break
            except queue.Full:
                continue
        self._worker.join(timeout=30)
        if self._receipt is not None and self.connected.is_set():
            with contextlib.suppress(RuntimeError):  # the connection went meanwhile
                self._receipt.wait_for_publish(RECEIPT_S)
        self._client.disconnect()
        self._client.loop_stop()
