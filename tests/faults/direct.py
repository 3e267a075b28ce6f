"""Agent and ingest joined without a broker: what one commits the other is given, and answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from edge_agent.agent import Agent
from edge_agent.outbox import TABLE_STREAM, Outbox
from edge_agent.source import RawReading
from ingest.keyring import load_or_make_key
from ingest.receiver import Message, Receiver
from meterprint.site import open_site
from mrv.envelope import Clock, ClockState
from mrv.receipt import parse_receipt
from mrv.verification.note import open_note
from tests.faults.drilled_site import prepare
from tests.faults.processes import AGENT, CHANNEL, STEP_NS, STREAM, S, reading, table

CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")
EACH = 20
"""Readings of one envelope."""


class Direct:
    """A prepared site and its one agent."""

    def __init__(self, folder: Path, total: int) -> None:
        self.state = folder / "state"
        prepare(self.state, total)
        self.site = open_site(self.state)
        self.receiver = Receiver(
            self.site.journal, self.site.quarantine, self.site.keyring.receipts, self.site.keys_of
        )
        self.key = load_or_make_key(self.state / "agents" / AGENT / "agent.key", AGENT)
        self.file = folder / "outbox.db"
        self.moment = 0
        self.start()

    def start(self, shift: Callable[[int], int] = lambda t: t) -> None:
        """Start the agent on the outbox that is there; `shift` is what its clock shows at t."""
        self.shift = shift
        self.outbox = Outbox(self.file)
        self.agent = Agent(
            table(),
            {CHANNEL: STREAM},
            self.key,
            self.outbox,
            lambda: CLOCK,
            now=lambda: self.shift(self.moment),
            mono=lambda: self.moment + S,
        )

    def read(self, first: int, stop: int) -> None:
        """Cut readings [first, stop) into envelopes, stamped as the agent's clock shows."""
        for start in range(first, stop, EACH):
            rows = [reading(n) for n in range(start, min(start + EACH, stop))]
            self.agent.add([RawReading(r.channel, self.shift(r.t), 0, r.v) for r in rows])
            self.moment = rows[-1].t + STEP_NS
            self.agent.flush()

    def deliver(self) -> None:
        """Hand over what has no receipt, and free what gets one."""
        while pending := self.outbox.pending():
            messages = []
            for sent in pending:
                kind = "birth" if sent.stream == TABLE_STREAM else "readings"
                messages.append(Message(AGENT, kind, f"t/{kind}", sent.note))
            committed = self.receiver.take(messages)
            for _, _, note in self.receiver.receipts(committed):
                text = open_note(note, [self.site.keyring.receipts.public]).text
                self.outbox.release(parse_receipt(text), 1)

    def copy_outbox(self, target: Path) -> None:
        """A backup of the outbox."""
        copy = apsw.Connection(str(target))
        with copy.backup("main", self.outbox._db, "main") as work:
            work.step()
        copy.close()

    def lose_outbox(self, backup: Path | None = None) -> None:
        """The agent's disk is gone; it starts on a backup, or on nothing."""
        self.outbox.close()
        for end in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + end).unlink(missing_ok=True)
        if backup is not None:
            self.file.write_bytes(backup.read_bytes())
        self.start()

    def findings(self) -> dict[str, list[tuple[tuple[str, str], ...]]]:
        """What the engine found, by rule."""
        self.site.refresh()
        found: dict[str, list[tuple[tuple[str, str], ...]]] = {}
        for finding in self.site.engine.findings():
            found.setdefault(finding.rule, []).append(finding.numbers)
        return found

    def states(self) -> dict[str, str]:
        """State of each batch, and what it lacks."""
        self.site.refresh()
        return {name: result.state.value for name, result in self.site.engine.results.items()}

    def close(self) -> None:
        self.outbox.close()
        self.site.close()
