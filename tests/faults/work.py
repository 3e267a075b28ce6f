"""What outbox and journal are given to do in the fault tests: numbered steps with known outcomes.

Each step is one transaction, so after a fault a store holds what some number of whole steps makes.
`Work.after(k)` is that content; `Work.reached` tells how many steps a store has behind it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge_agent.chain import StreamChain
from edge_agent.outbox import Outbox, Outgoing
from edge_agent.packing import unpacked
from edge_agent.source import RawReading
from ingest.journal import Draft, EntryKind, Journal
from mrv.envelope import Clock, ClockState, parse
from mrv.receipt import Receipt
from mrv.verification.note import SecretKey, split

S = 10**9
SITE = "fault-site"
KEY = SecretKey("agent-1", bytes(range(32)))
ORIGIN = SecretKey(f"{SITE}/journal", bytes(range(1, 33)))
CLOCK = Clock(ClockState.SYNCHRONISED, 5, "test")
STREAMS = ("line-1", "line-2")

Content = tuple[object, ...]
"""Everything a store holds, comparable."""


class Work(Protocol):
    """A store and the steps it is taken through."""

    name: str
    steps: int

    def open(self, path: Path) -> Any:
        """Open the real store."""
        ...

    def do(self, store: Any, step: int) -> None:
        """Take it through a step."""
        ...

    def content(self, store: Any) -> Content:
        """What it holds."""
        ...

    def after(self, step: int) -> Content:
        """What it holds after so many steps."""
        ...

    def faults(self, store: Any) -> list[str]:
        """What the store finds wrong with itself."""
        ...


def envelopes(choice: random.Random, count: int) -> list[Outgoing]:
    """Signed envelopes of two streams, taken in turn at random, of very different sizes."""
    chains = {
        stream: StreamChain(
            SITE,
            stream,
            KEY,
            "",
            None,
            now=lambda: 5 * S,
            mono=lambda: S,
            boot="boot",
            epoch=f"{choice.getrandbits(64):016x}",
        )
        for stream in STREAMS
    }
    sent: list[Outgoing] = []
    while len(sent) < count:
        rows = choice.choice((1, 1, 1, 5, 30, 300))
        at = len(sent) * 1000
        readings = [RawReading("m.energy", (at + i) * S, 0, at + i) for i in range(rows)]
        sent += chains[choice.choice(STREAMS)].cut(readings, CLOCK)
    return sent


@dataclass(slots=True)
class _OutboxState:
    """A model of the outbox: rows in order and the heads."""

    rows: dict[str, tuple[bytes, int | None]]
    heads: dict[str, tuple[str, int, str]]

    def frozen(self) -> Content:
        return (tuple(self.rows.items()), tuple(sorted(self.heads.items())))


class OutboxWork:
    """Commits of envelopes, receipts for some of them, and now and then a clearing out."""

    name = "outbox"

    def __init__(self, seed: int, steps: int = 24) -> None:
        choice = random.Random(seed)
        self.steps = steps
        supply = iter(envelopes(choice, 4 * steps))
        self._acts: list[tuple[str, Any]] = []
        self._states: list[Content] = []
        state = _OutboxState({}, {})
        self._states.append(state.frozen())
        for number in range(1, steps + 1):
            open_rows = [i for i, (_, receipted) in state.rows.items() if receipted is None]
            draw = choice.random()
            if draw < 0.25 and open_rows:
                some = tuple(choice.sample(open_rows, choice.randint(1, len(open_rows))))
                receipt = Receipt("o", KEY.name, "", "", (), some, 0, 0)
                self._acts.append(("release", (receipt, number)))
                for identity in some:
                    state.rows[identity] = (state.rows[identity][0], number)
            elif draw < 0.35 and len(open_rows) < len(state.rows):
                self._acts.append(("prune", number))
                state.rows = {
                    i: (note, receipted)
                    for i, (note, receipted) in state.rows.items()
                    if receipted is None or receipted >= number - 4
                }
            else:
                group = [next(supply) for _ in range(choice.randint(1, 4))]
                self._acts.append(("commit", group))
                for m in group:
                    state.rows[m.identity] = (m.note, None)
                    state.heads[m.stream] = (m.epoch, m.seq, m.identity)
            self._states.append(state.frozen())

    def open(self, path: Path) -> Outbox:
        return Outbox(path)

    def do(self, store: Outbox, step: int) -> None:
        kind, what = self._acts[step]
        if kind == "commit":
            store.commit(what)
        elif kind == "release":
            store.release(*what)
        else:
            store.prune(what, keep_ns=4)

    def content(self, store: Outbox) -> Content:
        rows = store._db.execute("SELECT identity, note, receipted FROM message ORDER BY id")
        kept = tuple((identity, (unpacked(bytes(note)), mark)) for identity, note, mark in rows)
        heads = store._db.execute("SELECT stream, epoch, seq, identity FROM head ORDER BY stream")
        return (kept, tuple((stream, (epoch, seq, i)) for stream, epoch, seq, i in heads))

    def after(self, step: int) -> Content:
        return self._states[step]

    def faults(self, store: Outbox) -> list[str]:
        rows = store._db.execute("PRAGMA integrity_check").fetchall()
        return [row[0] for row in rows if row[0] != "ok"]


class JournalWork:
    """Groups of envelopes, some of which the journal has already."""

    name = "journal"

    def __init__(self, seed: int, steps: int = 24) -> None:
        choice = random.Random(seed)
        self.steps = steps
        supply = iter(envelopes(choice, 4 * steps))
        known: dict[str, Draft] = {}
        self._groups: list[list[Draft]] = []
        self._states: list[Content] = [()]
        for _ in range(steps):
            group = []
            for _ in range(choice.randint(1, 4)):
                sent = next(supply)
                parsed = parse(split(sent.note)[0])
                group.append(Draft(EntryKind.ENVELOPE, sent.note, sent.identity, envelope=parsed))
            if known and choice.random() < 0.3:
                group.insert(0, choice.choice(list(known.values())))
            self._groups.append(group)
            known |= {d.identity: d for d in group}
            self._states.append(tuple((i, d.note) for i, d in known.items()))

    def open(self, path: Path) -> Journal:
        return Journal(path, SITE, ORIGIN)

    def do(self, store: Journal, step: int) -> None:
        store.append(self._groups[step])
        if step % 5 == 4:
            store.checkpoint()

    def content(self, store: Journal) -> Content:
        return tuple((entry.identity, entry.note) for entry in store.entries())

    def after(self, step: int) -> Content:
        return self._states[step]

    def faults(self, store: Journal) -> list[str]:
        rows = store._db.execute("PRAGMA integrity_check").fetchall()
        found = [row[0] for row in rows if row[0] != "ok"]
        count = store._db.execute("SELECT count(*) FROM envelope").fetchone()[0]
        if count != store.size:
            found.append(f"{count} places for {store.size} envelopes")
        return found + store.verify()


WORKS = {"outbox": OutboxWork, "journal": JournalWork}


@contextmanager
def opened(work: Work, path: Path) -> Iterator[Any]:
    """The store, open."""
    with closing(work.open(path)) as store:
        yield store


def reached(work: Work, store: Any, low: int, high: int) -> int | None:
    """Which of the steps low … high the store is at; None where its content is of no such step."""
    seen = work.content(store)
    return next((k for k in range(high, low - 1, -1) if work.after(k) == seen), None)


def judge(work: Work, path: Path, reported: int, *, finish: bool = True) -> list[str]:
    """What is wrong with a store after a fault; `reported` steps were said to be committed.

    The step in progress may have come through or not. Everything before it is there, nothing
    twice, and going on from there ends where an undisturbed run ends.
    """
    try:
        with opened(work, path) as store:
            at = reached(work, store, reported, min(reported + 1, work.steps))
            if at is None:
                now = reached(work, store, 0, work.steps)
                where = "no step" if now is None else f"step {now}"
                return [f"lost: {reported} steps were reported, the content is that of {where}"]
            found = work.faults(store)
            if found or not finish:
                return found
            for step in range(at, work.steps):
                work.do(store, step)
            if work.content(store) != work.after(work.steps):
                found.append("going on does not end where an undisturbed run ends")
            return found + work.faults(store)
    except Exception as error:
        return [f"does not open: {type(error).__name__}: {error}"]
