"""A bridge: mapped JSON of foreign devices, signed on receipt, straight into the journal (ADR 25).

One thread receives, decodes, cuts, commits and acknowledges. A message is acknowledged to its
broker only once the signed envelope with its readings, or its bytes in the quarantine, are on
disk. While the journal refuses, nothing more is taken from the socket: back-pressure is TCP's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import apsw
import structlog

from footprint.plant import PlantModel
from ingest.bridge_chain import BridgeChain, head_of, latest
from ingest.bridge_decode import WINDOW, Decoder, Row
from ingest.bridge_json import TOO_LARGE, Refused
from ingest.bridge_mapping import BridgeMapping
from ingest.bridge_tally import BridgeTally
from ingest.enrolled_keys import EnrolledKeys
from ingest.entry import Draft, EntryKind
from ingest.journal import Journal, JournalError, RegistryMoved
from ingest.mqtt_feed import Arrived, BrokerAddress, FeedLost, MqttFeed
from ingest.quarantine import Quarantine, QuarantineError
from ingest.quarantine import Refused as Kept
from mrv.channel import ChannelKind, ChannelTable, render_table
from mrv.column import MAX_READINGS, column_times
from mrv.envelope import Clock, ClockState, Envelope, Event
from mrv.errors import MeterprintError
from mrv.verification.note import SecretKey, identity, sign

AT_ONCE_S = 0.01
"""What comes this soon after an acknowledgement had waited for it."""
MOST_MESSAGES = 2 * MAX_READINGS
"""Messages of one group; more are not taken before they are acknowledged."""
MOST_KEPT = 200
"""Messages of one group that go to the quarantine."""
LEAST_WINDOW = 10
"""No broker keeps fewer messages in flight: HiveMQ 10, Mosquitto 20, EMQX 32 by default."""
PROBE_S = 0.02
"""Silence after which we see whether the broker waits for us; doubled each time in vain."""
LOOK_S = 0.5
"""Longest wait for a message before looking whether to stop, s."""
RETRY_S = (0.2, 1.0, 2.0, 5.0, 10.0)
"""Pauses before the broker, or a disk that refused, is tried again."""

log = structlog.get_logger("bridge")


class KeyRevoked(MeterprintError):
    """The bridge's key was revoked: nothing it signs may enter the journal any more."""


class Bridge:
    """One bridge of a site. `start` runs it in a thread; `stop` commits what it has taken."""

    def __init__(
        self,
        mapping: BridgeMapping,
        plant: PlantModel,
        journal: Journal,
        quarantine: Quarantine,
        key: SecretKey,
        broker: BrokerAddress,
        clock: Callable[[], Clock],
        on_journalled: Callable[[Sequence[tuple[int, str, Envelope]]], None] | None = None,
        on_state: Callable[[bool], None] | None = None,
        now: Callable[[], int] = time.time_ns,
        enrolled: EnrolledKeys | None = None,
    ) -> None:
        """With `enrolled` it ends where its key is revoked; what it has not acknowledged stays."""
        self.mapping = mapping
        self.tally = BridgeTally()
        self.fault = ""
        self.refusal = ""
        """What the disk says while it refuses, "" = it does not."""
        self.connected = threading.Event()
        self._journal = journal
        self._quarantine = quarantine
        self._clock = clock
        self._on_journalled = on_journalled
        self._on_state = on_state
        self._now = now
        self._enrolled = enrolled
        self._key = key.public
        self._decoder = Decoder(mapping, plant)
        channels = mapping.channels(plant)
        text = render_table(ChannelTable(journal.site, key.name, channels))
        self._table = Draft(EntryKind.TABLE, sign(text, key), identity(text))
        head = head_of(journal, key.name, mapping.stream)
        for envelope in latest(journal, key.name, mapping.stream, head, WINDOW):
            self._remember(envelope)
        self._chain = BridgeChain(
            journal.site,
            mapping.stream,
            key,
            self._table.identity,
            head,
            frozenset(c.name for c in channels if c.kind is ChannelKind.AMOUNT),
            now,
        )
        filters = [message.filter for message in mapping.messages]
        self._feed = MqttFeed(broker, f"{journal.site}-{key.name}", filters)
        self._rows: list[tuple[str, Row]] = []
        self._mids: list[int] = []
        self._kept: list[tuple[Arrived, str, str]] = []
        self._oldest = 0.0
        self._window = 0
        self._asked = 0
        self._acked = 0.0
        self._probe = PROBE_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"bridge-{key.name}", daemon=True)

    def _remember(self, envelope: Envelope) -> None:
        for column in envelope.cols:
            for t, count in zip(column_times(column), column.v, strict=True):
                self._decoder.remember(column.ch, t, count)

    def start(self) -> None:
        """Run until `stop`."""
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether its thread has ended though nobody stopped it."""
        return not (self._thread.is_alive() or self._stopping.is_set())

    def stop(self) -> None:
        """Commit and acknowledge what was taken, leave the broker; returns when it has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _work(self) -> None:
        try:
            self._bridge()
        except KeyRevoked as error:
            self._stopping.set()
            self.fault = str(error)
            log.error("bridge_revoked", bridge=self.mapping.agent, error=str(error))  # noqa: TRY400 (no fault of the program)
            self._tell(online=False)
            self._feed.close()

    def _bridge(self) -> None:
        started = Event("start", self._now(), reason="bridge")
        if not self._append([self._table, *self._chain.cut((), self._told_clock(), (started,))]):
            return
        tries = 0
        while not self._stopping.is_set():
            try:
                self._feed.connect()
                tries = 0
                self.fault = ""
                while not self._stopping.is_set():
                    self._step()
                    if self._feed.subscribed and not self.connected.is_set():
                        self._tell(online=True)
                if self._commit():
                    self._feed.leave()
            except FeedLost as error:
                self._tell(online=False)
                self.fault = str(error)
                log.warning("broker_lost", bridge=self.mapping.agent, error=str(error))
                self._mids.clear()  # they come again; what was taken is kept all the same
                if self._rows or self._kept:
                    self._commit()
                self._stopping.wait(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
        self._tell(online=False)
        self._feed.close()

    def _tell(self, *, online: bool) -> None:
        """Say whether the foreign broker is there."""
        if online:
            self.connected.set()
        else:
            self.connected.clear()
        if self._on_state is not None:
            self._on_state(online)

    def _step(self) -> None:
        """Take what is there, and commit where it is time."""
        flush = self.mapping.flush / 1e9
        waiting = bool(self._mids or self._rows or self._kept)
        asking = len(self._mids) >= LEAST_WINDOW
        timeout = LOOK_S
        if waiting:
            timeout = self._oldest + flush - time.monotonic()
            timeout = min(timeout, self._probe) if asking else timeout
        arrived = self._feed.receive(min(max(timeout, 0.0), LOOK_S))
        now = time.monotonic()
        if arrived:
            if not waiting:
                self._oldest = now
                self._learn(now, flush)
            self._take(arrived)
        elif not waiting:
            return
        mids = len(self._mids)
        if 0 < self._window < mids:
            self._window = 0  # it sends more unacknowledged than we thought
        full = len(self._rows) >= MAX_READINGS or mids >= MOST_MESSAGES
        full = full or len(self._kept) >= MOST_KEPT or 0 < self._window <= mids
        silent = not arrived and (asking or now - self._oldest >= flush)
        if full or silent or now - self._oldest >= flush:
            self._asked = mids if silent else 0
            self._commit()

    def _learn(self, now: float, flush: float) -> None:
        """How many messages the broker sends unacknowledged: when it has, waiting is no use."""
        if self._asked < LEAST_WINDOW:
            return
        if now - self._acked < AT_ONCE_S:
            self._window = self._asked
            self._probe = PROBE_S
        else:
            self._probe = min(2 * self._probe, flush)

    def _take(self, arrived: Sequence[Arrived]) -> None:
        tally, decode, now, rows = self.tally, self._decoder.decode, self._now(), self._rows
        tally.received += len(arrived)
        self._mids += [message.mid for message in arrived if message.mid]
        for message in arrived:
            now += 1  # two messages of one moment are two readings
            try:
                if message.cut:
                    raise Refused(TOO_LARGE, f"more than {len(message.payload)} bytes")
                found = decode(
                    message.topic,
                    message.payload,
                    now,
                    again=message.again,
                    retained=message.retained,
                )
            except Refused as refusal:
                tally.refused[refusal.reason] += 1
                self._kept.append((message, refusal.reason, refusal.detail))
                continue
            if found.flags:
                for channel, flag in found.flags:
                    tally.flags[flag] += 1
                    self._kept.append((message, flag, channel))
            if found.duplicate:
                tally.duplicates += 1
            rows += found.rows

    def _told_clock(self) -> Clock:
        """The machine's clock; where devices stamp for themselves, theirs."""
        ahead = [m.time.ahead for m in self.mapping.messages if m.time.pointer is not None]
        if not ahead:
            return self._clock()
        return Clock(ClockState.INFORMATIVE, max(ahead) // 1_000_000, "device")

    def _commit(self) -> bool:
        """Keep and acknowledge everything taken; False where we stop before the disk takes it."""
        if self._kept and not self._persist(self._quarantined):
            return False
        if self._rows:
            drafts = self._chain.cut(self._rows, self._told_clock())
            if not self._append(drafts):
                return False
        mids, self._mids = self._mids, []
        self._rows, self._kept = [], []
        self._feed.acknowledge(mids)
        self._acked = time.monotonic()
        return True

    def _quarantined(self) -> None:
        now = self._now()
        self._quarantine.add(
            [
                Kept(
                    now,
                    self.mapping.agent,
                    message.topic.decode(errors="replace"),
                    reason,
                    detail,
                    message.payload,
                )
                for message, reason, detail in self._kept
            ]
        )
        self._kept.clear()

    def _append(self, drafts: Sequence[Draft]) -> bool:
        """Journal entries; False where we stop before the disk takes them."""
        placed: list[tuple[int, bool]] = []
        if not self._persist(lambda: placed.extend(self._entered(drafts))):
            return False
        fresh = [
            (index, draft.identity, draft.envelope)
            for (index, new), draft in zip(placed, drafts, strict=True)
            if new and draft.envelope is not None
        ]
        self.tally.envelopes += len(fresh)
        self.tally.readings += sum(envelope.readings for _, _, envelope in fresh)
        if self._on_journalled is not None:
            self._on_journalled(fresh)
        return True

    def _entered(self, drafts: Sequence[Draft]) -> list[tuple[int, bool]]:
        """Journal entries while our key is in force. Raises JournalError and KeyRevoked."""
        if self._enrolled is None:
            return self._journal.append(drafts)
        while True:
            known = self._enrolled.count
            if self._key not in self._enrolled.of_agent(self._key.name):
                raise KeyRevoked(f"the key {self._key.vkey} of the bridge is not in force")
            try:
                return self._journal.append(drafts, registry=known)
            except RegistryMoved:
                self._enrolled.learn(self._journal)

    def _persist(self, write: Callable[[], object]) -> bool:
        """Write, however long the disk refuses; False where we stop before."""
        tries = 0
        while True:
            try:
                write()
            except (JournalError, QuarantineError, apsw.Error) as error:
                self.fault = self.refusal = str(error)
                log.exception("disk_refused", bridge=self.mapping.agent, error=str(error))
                if self._stopping.wait(RETRY_S[min(tries, len(RETRY_S) - 1)]):
                    return False
                tries += 1
            else:
                self.refusal = ""
                return True
